import pytest

from include.lifecycle.errors import Rejected, Tampered
from include.lifecycle.release.costs import USED
from include.lifecycle.release.decisions import record
from include.lifecycle.release.moves import move
from include.lifecycle.release.state import Proposal
from include.lifecycle.steps.approving import approve_unasked
from include.lifecycle.steps.releasing import judge_proposal, promote, stage_newest
from include.lifecycle.store.objects import object_path
from include.lifecycle.store.receipts import Receipt
from tests.lifecycle import tiny
from tests.lifecycle.serving_here import served_here
from tests.lifecycle.tiny import ACTOR, MODEL, Project, midnight


def _release(world: Project, version: str | None = None) -> tuple[str, str] | None:
    """Stage, and promote what was staged; what became of which version."""
    model = world.catalog.model(MODEL)
    moved = stage_newest(model, world.store, ACTOR, version, served_here)
    if moved is not None and moved.event == "staged":
        approve_unasked(model, moved.version, "local", world.store, ACTOR)
        moved = promote(MODEL, moved.version, world.store, ACTOR)
    return None if moved is None else (moved.version, moved.event)


def _champion(world: Project) -> str | None:
    champion = world.state().champion
    return None if champion is None else champion.version


def test_nothing_waits_so_nothing_is_decided(world: Project) -> None:
    assert _release(world) is None
    assert world.ledger.entries() == []


def test_a_good_first_version_becomes_champion(world: Project, trained: Receipt) -> None:
    tiny.propose_version(world, trained, "1")
    assert _release(world) == ("1", "promoted")
    assert _champion(world) == "1"
    assert _release(world) is None


def test_an_evaluation_that_the_release_makes_is_billed(world: Project, trained: Receipt) -> None:
    tiny.propose_version(world, trained, "1")
    _release(world)
    assert [entry.data["step"] for entry in world.ledger.entries() if entry.event == USED] == ["evaluate"]


def test_a_version_that_fails_its_gates_leaves_the_champion_in_place(
    world: Project, trained: Receipt
) -> None:
    tiny.crown(world, tiny.train_as_of(world, midnight(20)), "1")
    tiny.propose_version(world, trained, "2")
    world.edit("models/late.yaml", "at_least: 0.6", "at_least: 0.999")
    assert _release(world) == ("2", "rejected")
    assert _champion(world) == "1"
    assert "auc" in world.ledger.entries()[-1].why


def test_a_backfilled_training_of_a_past_day_never_replaces_a_newer_champion(
    world: Project, trained: Receipt
) -> None:
    tiny.crown(world, trained, "1")
    tiny.propose_version(world, tiny.train_as_of(world, midnight(20)), "2")
    assert _release(world) == ("2", "rejected")
    assert _champion(world) == "1"
    assert "not newer than the champion" in world.ledger.entries()[-1].why


def test_an_old_proposal_is_refused_before_anything_is_computed_for_it(
    world: Project, trained: Receipt
) -> None:
    tiny.crown(world, trained, "1")
    missing = Proposal(version="2", run_key="0" * 64, as_of=midnight(20), evaluation="e")
    judged = judge_proposal(
        world.catalog.model(MODEL), missing, world.state(), world.store, ACTOR, served_here
    )
    assert not judged.verdict.passed
    assert "not newer than the champion" in judged.verdict.why


def test_of_several_proposals_the_newest_is_judged_and_older_ones_are_superseded(
    world: Project, trained: Receipt
) -> None:
    for day, version in ((20, "1"), (21, "2")):
        tiny.propose_version(world, tiny.train_as_of(world, midnight(day)), version)
    tiny.propose_version(world, trained, "3")
    assert _release(world) == ("3", "promoted")
    outcomes = {item.as_of.day: item.outcome for item in world.state().trainings}
    assert outcomes == {20: "superseded", 21: "superseded", 22: "promoted"}
    assert world.state().undecided == ()


def test_a_version_asked_for_is_judged_and_the_others_go_on_waiting(world: Project, trained: Receipt) -> None:
    tiny.propose_version(world, tiny.train_as_of(world, midnight(20)), "1")
    tiny.propose_version(world, trained, "2")
    assert _release(world, "1") == ("1", "promoted")
    assert [item.version for item in world.state().undecided] == ["2"]


def test_a_release_that_died_half_way_goes_on_before_a_newer_version(
    world: Project, trained: Receipt
) -> None:
    model = world.catalog.model(MODEL)
    tiny.propose_version(world, tiny.train_as_of(world, midnight(20)), "1")
    stage_newest(model, world.store, ACTOR, None, served_here)
    for stage in ("approved", "canary"):
        record(world.ledger, move("1", stage, "and then the task was killed"), ACTOR)
    tiny.propose_version(world, trained, "2")
    moved = stage_newest(model, world.store, ACTOR, None, served_here)
    assert moved is not None
    assert (moved.version, moved.event) == ("1", "canary")
    assert [item.version for item in world.state().undecided] == ["1", "2"]


def test_a_version_that_does_not_wait_is_refused_with_those_that_do(world: Project, trained: Receipt) -> None:
    tiny.propose_version(world, trained, "1")
    with pytest.raises(Rejected, match="version 7 does not wait for a decision; waiting: 1"):
        _release(world, "7")


def test_a_version_whose_files_were_changed_is_not_released(world: Project, trained: Receipt) -> None:
    tiny.propose_version(world, trained, "1")
    world.store.replace(object_path(trained.outputs["features.py"].sha256), b"import os\n")
    with pytest.raises(Tampered, match=r"features.py"):
        _release(world)
    assert _champion(world) is None
