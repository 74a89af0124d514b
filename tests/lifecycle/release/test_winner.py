from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from include.lifecycle.release.decisions import Draft, record
from include.lifecycle.release.state import Searched
from include.lifecycle.release.winner import winner_for, with_parameters
from include.lifecycle.spec.model import ModelSpec
from tests.lifecycle.tiny import ACTOR, MODEL, SEARCH, Project, midnight


@pytest.fixture
def model(project: Project) -> ModelSpec:
    project.add("models/late.yaml", SEARCH)
    return project.catalog.model(MODEL)


def found(model: ModelSpec, search: str, as_of: datetime, depth: int = 4) -> Searched:
    assert model.search is not None
    return Searched(
        search=search, trial="t", as_of=as_of, space=model.search.space_hash, parameters={"max_depth": depth}
    )


def test_the_newest_search_of_the_space_wins(model: ModelSpec) -> None:
    one, other = found(model, "one", midnight(5)), found(model, "other", midnight(9))
    elsewhere = found(model, "elsewhere", midnight(12)).model_copy(update={"space": "another"})
    assert winner_for(model, (other, one, elsewhere), midnight(20)) == other
    assert winner_for(model, (), midnight(20)) is None


def test_of_two_searches_as_of_one_moment_the_later_one_wins(model: ModelSpec) -> None:
    one, other = found(model, "one", midnight(5)), found(model, "other", midnight(5))
    assert winner_for(model, (one, other), midnight(5)) == other


def test_a_backfilled_training_does_not_know_what_a_later_search_found(model: ModelSpec) -> None:
    one, other = found(model, "one", midnight(5)), found(model, "other", midnight(9))
    assert winner_for(model, (one, other), midnight(8)) == one
    assert winner_for(model, (one, other), midnight(4)) is None


def test_without_search_in_the_yaml_its_own_parameters_hold(model: ModelSpec) -> None:
    without = model.model_copy(update={"search": None})
    assert winner_for(without, (found(model, "one", midnight(5)),), midnight(9)) is None
    assert with_parameters(model, None) == model


def test_a_winner_replaces_its_own_parameters_and_no_others(model: ModelSpec) -> None:
    changed = with_parameters(model, found(model, "one", midnight(5), depth=7))
    assert changed.training.parameters == {**model.training.parameters, "max_depth": 7}
    assert changed.training.model_copy(update={"parameters": model.training.parameters}) == model.training


def test_the_ledger_keeps_one_result_a_search_and_stays_readable_with_a_broken_one(
    model: ModelSpec, project: Project, tmp_path: Path
) -> None:
    for search, depth in (("one", 3), ("other", 4), ("one", 5)):
        data = found(model, search, midnight(5), depth).model_dump(mode="json", exclude={"as_of"})
        draft = Draft(event="searched", as_of=midnight(5), why="best", data={**data, "trials": 6})
        record(project.ledger, lambda state, draft=draft: draft, ACTOR)  # type: ignore[misc]
    broken = Draft(event="searched", as_of=midnight(6), why="best", data={"search": "cut"})
    record(project.ledger, lambda state: broken, ACTOR)
    kept = [(item.search, item.parameters["max_depth"]) for item in project.state().searched]
    assert kept == [("other", 4), ("one", 5)]
