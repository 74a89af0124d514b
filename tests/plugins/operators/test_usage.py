"""What a model's steps use and cost, in the task's own process: in the ledger and in a real MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import mlflow
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from mlops.operators.approve import ApproveOperator
from mlops.operators.ingest import ExtractOperator
from mlops.operators.release import PromoteOperator, ReconcileOperator, StageOperator
from mlops.operators.train import EvaluateOperator, GateOperator, RegisterOperator, TrainOperator

from include.lifecycle.release.costs import USED
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.ledger import Entry
from include.lifecycle.store.receipts import read_call, receipt_path
from tests.lifecycle import tiny
from tests.lifecycle.tiny import MODEL, Project
from tests.plugins.contexts import context_of, day_of
from tests.plugins.operators.test_loop import _plan

PRICES = "prices: {currency: EUR, cpu_hour: 3600, memory_gib_hour: 36, gpu_hour: 2}\n"


@pytest.fixture(autouse=True)
def priced(world: Project) -> None:
    """A core's second costs a euro: a training of the tiny model costs some."""
    profile = world.specs / "profiles/local.yaml"
    profile.write_text(profile.read_text() + PRICES)


@pytest.fixture
def client(mlflow_connection: str) -> Iterator[mlflow.MlflowClient]:
    """A client of the MLflow that all tests share, to which the model is new, and is again afterwards."""
    client = mlflow.MlflowClient(mlflow_connection)
    _forget(client)
    yield client
    _forget(client)


def _forget(client: mlflow.MlflowClient) -> None:
    for model in client.search_registered_models(f"name='{MODEL}'"):
        client.delete_registered_model(model.name)


def _used(project: Project) -> list[Entry]:
    return [entry for entry in project.ledger.entries() if entry.event == USED]


def _train(planned: dict[str, Any]) -> dict[str, Any]:
    trained: dict[str, Any] = TrainOperator(task_id="train", model=MODEL, planned=planned).execute(day_of(22))
    return trained


def _planned_anew(project: Project) -> dict[str, Any]:
    """A planned training that was never done."""
    planned = _plan(day_of(22))
    project.store.remove(receipt_path(planned["run_key"]))
    return planned


def test_a_training_is_billed_once_however_often_its_task_runs(world: Project) -> None:
    planned = _planned_anew(world)
    for _ in range(2):
        _train(planned)
    (entry,) = _used(world)
    usage = entry.data["usage"]
    assert (entry.data["step"], entry.data["run_key"]) == ("train", planned["run_key"])
    assert entry.data["where"] == "process"
    assert 0 < usage["cpu_seconds"] <= usage["seconds"] * 2
    expected = usage["cpu_seconds"] + usage["memory_gib_seconds"] / 100
    assert (entry.data["cost"], entry.data["currency"]) == (pytest.approx(expected), "EUR")
    (totals,) = world.state().usage.values()
    assert totals.costs == {"EUR": entry.data["cost"]}


def test_a_task_that_died_between_receipt_and_bill_is_billed_by_its_retry(world: Project) -> None:
    planned = _planned_anew(world)
    receipt, _ = run_step(read_call(planned["run_key"], world.store), world.store)
    _train(planned)
    (entry,) = _used(world)
    assert receipt.attempt is not None
    assert entry.data["attempt"] == receipt.attempt.id


def test_an_attempt_that_fails_costs_money_too(world: Project) -> None:
    (world.specs / "models/late.py").write_text("def features(rows):\n    return {}\n")
    planned = _plan(day_of(22))
    with pytest.raises(AirflowFailException, match=r"late.py"):
        _train(planned)
    (entry,) = _used(world)
    assert entry.data["usage"]["cpu_seconds"] > 0
    assert entry.data["cost"] > 0
    assert world.state().trainings[0].outcome == "failed"


def test_a_ledger_that_takes_no_bill_hides_no_error(world: Project) -> None:
    (world.specs / "models/late.py").write_text("def features(rows):\n    return {}\n")
    planned = _plan(day_of(22))
    (world.root / f"store/ledger/{MODEL}").rename(world.root / "moved")
    (world.root / f"store/ledger/{MODEL}").write_text("no folder")
    with pytest.raises(AirflowException, match=r"late.py"):
        _train(planned)


def test_steps_of_datasets_are_billed_to_nobody(world: Project) -> None:
    tiny.deliver(world, tiny.trips(25), "trips", "2024-01-25")
    ExtractOperator(task_id="extract", dataset="trips").execute(day_of(25))
    assert world.store.list("ledger/") == []


def test_mlflow_shows_what_the_training_cost_and_what_the_model_cost_per_month(
    world: Project, client: mlflow.MlflowClient
) -> None:
    context = day_of(22)
    trained = _train(_planned_anew(world))
    evaluated = EvaluateOperator(task_id="evaluate", model=MODEL, trained=trained).execute(context)
    gated = GateOperator(task_id="gates", model=MODEL, evaluated=evaluated).execute(context)
    registered = RegisterOperator(task_id="register", model=MODEL, gated=gated).execute(context)
    release = context_of(dag_id="late.release")
    staged = StageOperator(task_id="stage", model=MODEL).execute(release)
    approve = ApproveOperator(task_id="approve", model=MODEL, staged=staged, within=timedelta(days=1))
    PromoteOperator(task_id="promote", model=MODEL, climbed=approve.execute(release)).execute(release)
    for _ in range(2):
        ReconcileOperator(task_id="reconcile", model=MODEL).execute(context_of(dag_id="late.release"))

    used = _used(world)
    assert [entry.data["step"] for entry in used] == ["train", "evaluate", "register"]
    version = client.get_model_version(MODEL, registered["version"])
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["cost"] == used[0].data["cost"]
    assert metrics["cpu_seconds"] == used[0].data["usage"]["cpu_seconds"]
    ((month, totals),) = world.state().usage.items()
    tags = client.get_registered_model(MODEL).tags
    assert tags[f"cost.{month}"] == totals.cost == f"{sum(entry.data['cost'] for entry in used):.2f} EUR"
    assert tags[f"gpu_hours.{month}"] == "0.00"
