"""A search on a real Airflow: failing trials stop neither others nor later rounds; the winner is trained."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.lifecycle.release.fold import fold
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.receipts import read_call
from tests.lifecycle import tiny
from tests.lifecycle.tiny import MODEL, Project
from tests.system.world import World

pytestmark = pytest.mark.stack

SPEC = tiny.LATE.replace("cooldown: 3d", "cooldown: 0s").replace("budget: 2", "budget: 99") + (
    tiny.SEARCH.replace("[depthwise, lossguide]", "[depthwise, unheard_of]").replace("trials: 6", "trials: 4")
)


@pytest.fixture(scope="module")
def late(world: World) -> Iterator[World]:
    """The tiny project's model on the running stack, with published days and DAGs that are switched on."""
    files = {
        "datasets/trips.yaml": tiny.TRIPS,
        "datasets/sky.yaml": tiny.SKY,
        f"models/{MODEL}.py": tiny.FEATURES.decode(),
        f"models/{MODEL}.yaml": SPEC,
    }
    for file, text in files.items():
        (world.specs / file).write_text(text)
    project = Project(world.specs.parent, world.store)
    tiny.put_days(project, 1, 22)
    world.airflow.wait_for_dags({f"{MODEL}.search", f"{MODEL}.train"})
    for dag in (f"{MODEL}.train", f"{MODEL}.search"):
        world.airflow.unpause(dag)
    yield world
    for file in reversed(files):
        (world.specs / file).unlink()


def test_a_search_with_trials_that_fail_finds_parameters_and_the_training_takes_them(late: World) -> None:
    airflow, ledger = late.airflow, Ledger(late.store, MODEL)
    airflow.until(lambda: bool(fold(ledger.entries()).trainings), "the first training", 120)
    run = airflow.trigger(f"{MODEL}.search", {})
    assert run["state"] == "success", airflow.task_states(f"{MODEL}.search", run["dag_run_id"])
    found = fold(ledger.entries()).searched[-1]
    assert found.parameters["grow_policy"] == "depthwise"

    path = f"/dags/{MODEL}.search/dagRuns/{run['dag_run_id']}/taskInstances"
    tasks = airflow.get(path, {"limit": 100})["task_instances"]
    trials = [task["state"] for task in tasks if task["task_id"].endswith(".trial")]
    assert sorted(set(trials)) == ["failed", "success"]
    assert len(trials) == 4

    def is_trained() -> bool:
        begun = [item.run_key for item in fold(ledger.entries()).trainings]
        return read_call(begun[-1], late.store).inputs.get("search") == found.search

    airflow.until(is_trained, "a training with what the search found", 180)
    woken = [entry for entry in ledger.entries() if entry.event == "training"][-1]
    assert woken.why == "spec, features or code changed"
    assert "asset_triggered" in {item["run_type"] for item in airflow.runs(f"{MODEL}.train")}
