from pathlib import Path

import pytest

from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.release.decisions import Actor
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.release import Approval
from include.lifecycle.steps.approving import Question, approve_unasked, table_of, take_answer
from include.lifecycle.steps.releasing import Moved, stage_newest
from include.lifecycle.store.receipts import read_receipt
from tests.lifecycle import tiny
from tests.lifecycle.serving_here import served_here
from tests.lifecycle.tiny import ACTOR, MODEL, Project, midnight


def _asking(world: Project, **approval: object) -> ModelSpec:
    """The model with an approval policy, its version 1 champion and its version 2 staged."""
    spec = world.catalog.model(MODEL)
    policy = spec.release.model_copy(update={"approval": Approval.model_validate(approval)})
    return spec.model_copy(update={"release": policy})


@pytest.fixture(scope="module")
def staged_once(template: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("staged") / "project"
    with pytest.MonkeyPatch.context() as env:
        world = tiny.copy_of(template[0], root, env)
        tiny.crown(world, tiny.train_as_of(world, midnight(20)), "1")
        tiny.propose_version(world, read_receipt(template[1], world.store), "2")
        stage_newest(world.catalog.model(MODEL), world.store, ACTOR, None, served_here)
    return root


@pytest.fixture
def staged(staged_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return tiny.copy_of(staged_once, tmp_path / "staged", monkeypatch)


def _ask(world: Project, model: ModelSpec, profile: str = "local", place: int = 1) -> Moved | Question:
    return approve_unasked(model, "2", profile, world.store, ACTOR, place)


def _answer(world: Project, model: ModelSpec, name: str, agrees: bool = True) -> tuple[str, str]:
    who = Actor(name=name, run_id="late.release/one")
    moved = take_answer(model, "2", name.lower(), agrees, world.store, who)
    assert moved is not None
    return moved.event, moved.why


@pytest.mark.parametrize(
    ("approval", "profile", "why"),
    [
        ({}, "local", "the policy asks for nobody's approval"),
        ({"people": 1, "profiles": ["kubernetes"]}, "local", "where the profile is local"),
        ({"people": 2, "change": 0.9}, "local", "people are asked from 0.9 on"),
    ],
)
def test_nobody_is_asked_where_the_policy_does_not_ask_for_it(
    staged: Project, approval: dict[str, object], profile: str, why: str
) -> None:
    found = _ask(staged, _asking(staged, **approval), profile)
    assert isinstance(found, Moved)
    assert found.event == "approved"
    assert why in found.why
    assert isinstance(again := _ask(staged, _asking(staged, people=2)), Moved)
    assert again.event == "approved"


def test_who_has_to_be_asked_is_shown_candidate_and_champion_side_by_side(staged: Project) -> None:
    found = _ask(staged, _asking(staged, people=1, change=0.001))
    assert isinstance(found, Question)
    assert found.evaluation.change is not None
    assert 0.001 < found.evaluation.change < 0.9
    shown = table_of(found)
    assert "| auc |" in shown
    assert f"differ by {found.evaluation.change:.3f}" in shown
    assert "without an answer, the others equal to a batch's" in shown
    assert staged.state().standings["2"].stage == "staged"


def test_one_yes_is_enough_where_the_policy_asks_one_person(staged: Project) -> None:
    model = _asking(staged, people=1)
    assert _answer(staged, model, "Anna") == ("approved", "approved by Anna")
    assert [entry.event for entry in staged.ledger.entries()[-2:]] == ["consented", "approved"]


def test_two_people_must_be_two_people(staged: Project) -> None:
    model = _asking(staged, people=2)
    assert _answer(staged, model, "Anna")[0] == "staged"
    for _ in range(2):
        with pytest.raises(Transient, match="Anna agreed to version 2 already"):
            _answer(staged, model, "Anna")
    assert isinstance(_ask(staged, model, place=2), Question)
    assert _answer(staged, model, "Bert") == ("approved", "approved by Anna and Bert")
    assert isinstance(_ask(staged, model), Moved)


def test_a_question_that_was_answered_is_not_asked_again_when_its_task_is(staged: Project) -> None:
    model = _asking(staged, people=2)
    _answer(staged, model, "Anna")
    again = _ask(staged, model)
    assert isinstance(again, Moved)
    assert (again.event, again.why) == ("staged", "Anna agreed before; others have to")


def test_a_no_ends_the_release_and_is_in_the_ledger_with_the_name(staged: Project) -> None:
    model = _asking(staged, people=2)
    _answer(staged, model, "Anna")
    assert _answer(staged, model, "Bert", agrees=False) == ("rejected", "Bert said no")
    assert staged.state().undecided == ()
    with pytest.raises(Rejected, match="version 2 was decided on already"):
        _ask(staged, model)


def test_consents_are_of_one_version_alone(staged: Project) -> None:
    _answer(staged, _asking(staged, people=2), "Anna")
    tiny.propose_version(staged, tiny.train_as_of(staged, midnight(23)), "3")
    stage_newest(staged.catalog.model(MODEL), staged.store, ACTOR, None, served_here)
    assert staged.state().standings["3"].consents == {}
