"""Searches on the tiny project: asked once, run once, resumed after any death."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from include.lifecycle.errors import Rejected
from include.lifecycle.release.decisions import end_training, record
from include.lifecycle.release.winner import winner_for
from include.lifecycle.steps import train
from include.lifecycle.steps.planning import plan_training
from include.lifecycle.steps.running import run_step
from include.lifecycle.steps.search_result import Found, conclude, tell
from include.lifecycle.steps.searching import Asked, ask_round, plan_search
from include.lifecycle.store.checkpoints import checkpointed_run_keys
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, all_receipts, read_call
from tests.lifecycle import tiny
from tests.lifecycle.tiny import ACTOR, MODEL, SEARCH, Project, midnight

BEGUN = midnight(23)
RUN = """
import sys
from datetime import datetime
from include.lifecycle.steps.running import run_step
from include.lifecycle.steps.searching import ask_round
from include.lifecycle.store.objects import open_store

key, now, store = sys.argv[1], datetime.fromisoformat(sys.argv[2]), open_store()
for number in range(3):
    for asked in ask_round(key, number, store, now):
        run_step(asked.call, store)
"""
ROUNDS, TRIALS = 3, 6


@pytest.fixture
def searchable(world: Project) -> Project:
    """The world with a search in the model's YAML."""
    world.add("models/late.yaml", SEARCH)
    return world


@pytest.fixture(scope="module")
def finished(template: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a search that was run to its end, and the search's key."""
    root = tmp_path_factory.mktemp("finished") / "project"
    with pytest.MonkeyPatch.context() as env:
        project = tiny.copy_of(template[0], root, env)
        project.add("models/late.yaml", SEARCH)
        return root, run_all(plan(project), project.store).call.run_key


@pytest.fixture
def searched(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Project, Found]:
    """A project whose search is over; a copy that a test may change."""
    project = tiny.copy_of(finished[0], tmp_path / "searched", monkeypatch)
    return project, conclude(finished[1], project.store, BEGUN)


def plan(project: Project, now: datetime = BEGUN) -> Call:
    return plan_search(MODEL, project.catalog, project.store, slot=midnight(22), now=now)


def ask(call: Call, number: int, store: Store, minutes: int = 0) -> list[Asked]:
    return ask_round(call.run_key, number, store, BEGUN + timedelta(minutes=minutes))


def run_all(call: Call, store: Store) -> Found:
    """All rounds of a search, and what it found."""
    for number in range(ROUNDS):
        for asked in ask(call, number, store):
            run_step(asked.call, store)
    return conclude(call.run_key, store, BEGUN)


def trials_done(store: Store) -> list[str]:
    return sorted(receipt.run_key for receipt in all_receipts(store) if receipt.call.step == "trial")


def files(folder: Path) -> dict[str, int]:
    """The files in a folder that are whole, and when each was written."""
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("*") if "#" not in file.name}


def test_a_search_runs_its_trials_and_finds_the_best(searched: tuple[Project, Found]) -> None:
    _, found = searched
    assert len({item.call.run_key for item in found.asked}) == TRIALS
    assert {item.trial.outcome.state for item in found.asked} <= {"complete", "pruned"}
    values = [item.trial.outcome.value for item in found.asked if item.trial.outcome.value is not None]
    assert found.asked[found.winner].trial.outcome.value == min(values)
    assert all(item.receipt and not item.receipt.outputs for item in found.asked)
    first = found.asked[0].trial.parameters
    assert (first["max_depth"], first["learning_rate"]) == (3, 0.3), "what the YAML has is tried first"


def test_a_search_killed_again_and_again_loses_and_repeats_no_trial(searchable: Project) -> None:
    """By SIGKILL: inside a trial, between two asks of a round, and after a trial was asked."""
    searchable.edit("models/late.yaml", "seed: 3", "seed: 3\n  checkpoint: 0s")
    searchable.edit("models/late.yaml", "patience: 5", "patience: 30")
    call, root = plan(searchable), searchable.root / "store"
    shutil.copytree(root, searchable.root / "unbroken")
    expected = run_all(call, Store(str(searchable.root / "unbroken")))

    asked, receipts = root / "searches" / call.run_key / "trials", root / "receipts"
    before = len(files(receipts))
    kills: list[Callable[[], bool]] = [
        lambda: len(files(root / "checkpoints")) > 0,
        lambda: len(files(asked)) >= 3,
        lambda: len(files(receipts)) >= before + 3,
    ]
    done: dict[str, int] = {}
    for reached in kills:
        command = [sys.executable, "-c", RUN, call.run_key, BEGUN.isoformat()]
        process = subprocess.Popen(command, env=dict(os.environ))
        try:
            wait_until(reached, process)
        finally:
            process.kill()
            process.wait()
        assert done.items() <= files(receipts).items(), "what was done is not done again"
        done = files(receipts)
    assert before < len(done) < before + TRIALS

    found = run_all(call, searchable.store)
    assert [item.call for item in found.asked] == [item.call for item in expected.asked]
    assert [item.trial for item in found.asked] == [item.trial for item in expected.asked]
    assert (found.winner, found.why) == (expected.winner, expected.why)
    assert done.items() <= files(receipts).items()
    assert len(trials_done(searchable.store)) == TRIALS
    left = set(checkpointed_run_keys(searchable.store))
    assert left <= set(trials_done(searchable.store)), "of one killed after its receipt: the janitor's"


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("died_at", range(4))
def test_who_asks_again_gets_the_same_trials(searchable: Project, died_at: int) -> None:
    """Whatever was recorded when the one before died, or while another one asked."""
    call, store = plan(searchable), searchable.store
    for asked in ask(call, 0, store):
        run_step(asked.call, store)
    first = ask(call, 1, store)
    for path in store.list(f"searches/{call.run_key}/trials")[died_at:]:
        store.remove(path)
    again = [*ask(call, 0, store), *ask(call, 1, store)][2:]
    assert [item.call for item in again] == [item.call for item in first]


def test_what_was_asked_stays_asked_though_a_trial_that_had_failed_is_mended(searchable: Project) -> None:
    call, store = plan(searchable), searchable.store
    failed, done = ask(call, 0, store)
    run_step(done.call, store)
    asked = ask(call, 1, store)
    assert [item.call.inputs["told"] for item in asked] == [
        [None, done.call.run_key],
        [None, done.call.run_key, None],
    ]
    run_step(failed.call, store)
    assert ask(call, 1, store) == asked
    assert ask(call, 2, store)[0].call.inputs["told"][:2] == [failed.call.run_key, done.call.run_key]


def test_more_trials_go_on_where_a_smaller_budget_ended(searched: tuple[Project, Found]) -> None:
    project, found = searched
    project.edit("models/late.yaml", "trials: 6", "trials: 8")
    larger = plan(project)
    assert larger.run_key != found.call.run_key
    again = [item for number in range(ROUNDS) for item in ask(larger, number, project.store)]
    assert again == list(found.asked)
    assert [item.receipt for item in ask(larger, ROUNDS, project.store)] == [None, None]


def test_when_the_minutes_are_spent_no_trial_is_asked_and_those_asked_are_still_there(
    searchable: Project,
) -> None:
    call, store = plan(searchable), searchable.store
    for asked in ask(call, 0, store, minutes=59):
        run_step(asked.call, store)
    assert ask(call, 1, store, minutes=60) == []
    assert ask(call, 2, store, minutes=60) == []
    assert len(ask(call, 0, store, minutes=60)) == 2
    found = conclude(call.run_key, store, BEGUN + timedelta(minutes=60))
    assert len(found.asked) == 2


def test_a_search_planned_again_has_no_more_time(searchable: Project) -> None:
    call = plan(searchable)
    assert plan(searchable, now=BEGUN + timedelta(days=1)) == call
    assert ask(call, 0, searchable.store, minutes=60) == []


def test_a_search_with_time_and_trials_left_is_not_concluded(searchable: Project) -> None:
    call = plan(searchable)
    ask(call, 0, searchable.store)
    with pytest.raises(Rejected, match="2 of 6 trials were asked and there is time left"):
        conclude(call.run_key, searchable.store, BEGUN)
    with pytest.raises(Rejected, match="round 1 was not asked"):
        ask(call, 2, searchable.store)


def test_trials_that_fail_stop_no_other_and_all_of_them_are_no_winner(searchable: Project) -> None:
    call, store = plan(searchable), searchable.store
    for number in range(ROUNDS):
        _, other = ask(call, number, store)
        if number == 1:
            run_step(other.call, store)
    late = BEGUN + timedelta(hours=1)
    found = conclude(call.run_key, store, late)
    assert found.winner == 3
    assert [item.trial.outcome.state for item in found.asked].count("failed") == 5
    assert "5 failed" in found.why
    store.remove(f"receipts/{found.asked[3].call.run_key}.json")
    with pytest.raises(Rejected, match="none of 6 trials was completed; the logs"):
        conclude(call.run_key, store, late)


def test_what_xgboost_refuses_is_rejected_by_the_name_of_the_trial(searchable: Project) -> None:
    searchable.edit(
        "models/late.yaml", "grow_policy: {categorical: [depthwise", "grow_policy: {categorical: [deep"
    )
    call = plan(searchable)
    asked = next(
        item for item in ask(call, 0, searchable.store) if item.trial.parameters["grow_policy"] == "deep"
    )
    with pytest.raises(
        Rejected, match=rf"late.yaml: search: trial {asked.number} with .*deep.*XGBoost refuses"
    ):
        run_step(asked.call, searchable.store)


def test_a_trial_never_sees_the_gate(searchable: Project) -> None:
    """Other labels in the gate span's last days are another call, with the same outcome."""
    before = ask(plan(searchable), 0, searchable.store)[0]
    run_step(before.call, searchable.store)
    for day in (19, 20):
        rows = tiny.trips(day)
        tiny.put(searchable, "trips", f"{midnight(day):%Y-%m-%d}", rows.assign(delay=30 - rows["delay"]))
    after = ask(plan(searchable), 0, searchable.store)[0]
    assert after.call.run_key != before.call.run_key
    outcomes = [run_step(item.call, searchable.store)[0].results["outcome"] for item in (before, after)]
    assert outcomes[0] == outcomes[1]


def test_a_trial_grows_as_many_trees_as_the_training_with_its_parameters(searchable: Project) -> None:
    call = plan(searchable)
    first = ask(call, 0, searchable.store)[0]
    trial = run_step(first.call, searchable.store)[0].results["outcome"]
    searchable.edit("models/late.yaml", "seed: 3", "seed: 3\n  segment: 5")
    grow = first.trial.parameters["grow_policy"]
    searchable.edit("models/late.yaml", "max_depth: 3", f"max_depth: 3, grow_policy: {grow}")
    assert tiny.train_as_of(searchable, midnight(22)).results["trees"] == trial["trees"]


def test_what_was_found_is_told_once_and_the_next_training_takes_it(searched: tuple[Project, Found]) -> None:
    project, found = searched
    before = plan_training_of(project)
    for _ in range(2):
        tell(found, project.store, ACTOR)
    entries = project.ledger.entries()
    assert [entry.event for entry in entries] == ["training", "failed", "searched"]
    assert entries[-1].why == found.why

    after, parameters = plan_training_of(project), found.asked[found.winner].trial.parameters
    assert after.inputs == {**before.inputs, "search": found.call.run_key}
    given = before.spec["model"]["training"]["parameters"]
    assert after.spec["model"]["training"]["parameters"] == {**given, **parameters}
    assert train.fingerprint(after) != train.fingerprint(before), "the governor sees that the spec changed"

    trained = run_step(after, project.store)[0].outputs["booster.ubj"]
    project.edit("models/late.yaml", "int: [2, 5]", "int: [2, 6]")
    assert winner_for(project.catalog.model(MODEL), project.state().searched, midnight(22)) is None
    project.edit("models/late.yaml", "max_depth: 3, learning_rate: 0.3", json.dumps(parameters)[1:-1])
    by_hand = run_step(plan_training_of(project), project.store)[0].outputs["booster.ubj"]
    assert trained == by_hand


def plan_training_of(project: Project) -> Call:
    """What a person's training would be, given up again."""
    planned = plan_training(
        MODEL, project.catalog, project.store, slot=midnight(22), asked_for=True, actor=ACTOR
    )
    assert planned.run_key is not None
    record(project.ledger, end_training(planned.run_key, planned.as_of, "failed", "a test"), ACTOR)
    return read_call(planned.run_key, project.store)


def test_without_a_search_in_the_yaml_nothing_is_planned(world: Project) -> None:
    with pytest.raises(Rejected, match=r"late.yaml: search: missing"):
        plan(world)


def test_before_anything_is_published_nothing_is_planned(project: Project) -> None:
    project.add("models/late.yaml", SEARCH)
    with pytest.raises(Rejected, match=r"run trips.ingest first"):
        plan(project)
