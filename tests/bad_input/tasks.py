"""Airflow's operators, executed as a task would execute them, without its database."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from airflow.sdk import Asset
from mlops.operators.ingest import ExtractOperator, PublishOperator, ValidateOperator
from mlops.operators.release import ReconcileOperator
from mlops.operators.step import LifecycleOperator
from mlops.operators.train import (
    EvaluateOperator,
    GateOperator,
    PlanTrainingOperator,
    RegisterOperator,
    TrainOperator,
)

CANDIDATE = Asset("late.candidate", uri="perennial://model/late/candidate")
TRIPS = Asset("trips", uri="perennial://dataset/trips")


def context(run_id: str = "manual", **params: str | None) -> dict[str, Any]:
    """What Airflow gives to a task of a run that a person triggered, with the form's fields."""
    run = SimpleNamespace(
        dag_id="test",
        run_id=run_id,
        run_type="manual",
        logical_date=None,
        run_after=datetime(2024, 6, 1, tzinfo=UTC),
        triggering_user_name="ada",
    )
    return {
        "params": {"partition": None, "as_of": None, "version": None, **params},
        "dag_run": run,
        "ti": SimpleNamespace(try_number=1),
        "outlet_events": defaultdict(SimpleNamespace),
    }


def execute(operator: LifecycleOperator, run: dict[str, Any]) -> Any:
    """Execute a task."""
    return operator.execute(context=run, **{f"{type(operator).__name__}__sentinel": operator_sentinel()})


def operator_sentinel() -> object:
    """What tells an operator that it runs in a task."""
    from airflow.sdk.bases.operator import ExecutorSafeguard

    return ExecutorSafeguard.sentinel_value


def extract(partition: str, dataset: str = "trips") -> Any:
    """The first task of an ingestion."""
    return execute(ExtractOperator(task_id="extract", dataset=dataset), context(partition=partition))


def validate(extracted: Any) -> Any:
    """The second task of an ingestion."""
    return execute(ValidateOperator(task_id="validate", extracted=extracted), context())


def publish(validated: Any, dataset: str = "trips") -> Any:
    """The last task of an ingestion."""
    task = PublishOperator(task_id="publish", dataset=dataset, validated=validated, outlets=[TRIPS])
    return execute(task, context())


def ingest(partition: str, dataset: str = "trips") -> Any:
    """All tasks of an ingestion."""
    return publish(validate(extract(partition, dataset)), dataset)


def train(run_id: str, model: str = "late", as_of: str = "2024-03-09T00:00:00Z") -> Any:
    """Plan a training and train, by default on what the champion knows, whatever came later."""
    run = context(run_id, as_of=as_of)
    planned = execute(PlanTrainingOperator(task_id="plan", model=model), run)
    return execute(TrainOperator(task_id="train", model=model, planned=planned), run)


def gate(run_id: str, trained: Any, model: str = "late") -> Any:
    """Evaluate a training and apply its gates."""
    run = context(run_id)
    evaluated = execute(EvaluateOperator(task_id="evaluate", model=model, trained=trained), run)
    return execute(GateOperator(task_id="gates", model=model, evaluated=evaluated), run)


def register(run_id: str, gated: Any, model: str = "late") -> Any:
    """Register what passed its gates."""
    task = RegisterOperator(task_id="register", model=model, gated=gated, outlets=[CANDIDATE])
    return execute(task, context(run_id))


def reconcile(model: str = "late") -> Any:
    """Make everything equal to the ledger."""
    return execute(ReconcileOperator(task_id="reconcile", model=model), context())
