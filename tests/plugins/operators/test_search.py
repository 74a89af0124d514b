"""A search by its operators, in process, with a real MLflow; and what a training makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
from airflow.sdk import Asset
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from mlops.links import RunLink
from mlops.operators.search import AskOperator, FinishSearchOperator, PlanSearchOperator, TrialOperator
from mlops.operators.train import PlanTrainingOperator

from include.lifecycle.store.receipts import read_call, read_receipt
from tests.lifecycle import tiny
from tests.lifecycle.tiny import MODEL, Project
from tests.plugins.contexts import context_of, day_of

SEARCHED = Asset("late.searched", uri="perennial://model/late/searched")


@pytest.fixture
def searchable(world: Project) -> Project:
    """The world with a search of four trials."""
    world.add("models/late.yaml", tiny.SEARCH.replace("trials: 6", "trials: 4"))
    return world


def context(**more: Any) -> dict[str, Any]:
    return day_of(22, dag_id="late.search", **more)


def plan() -> dict[str, Any]:
    planned: dict[str, Any] = PlanSearchOperator(task_id="plan", model=MODEL).execute(context())
    return planned


def ask(planned: dict[str, Any], number: int) -> list[dict[str, Any]]:
    operator = AskOperator(task_id="ask", planned=planned, number=number)
    found: list[dict[str, Any]] = operator.execute(context())
    return found


def run(asked: dict[str, Any]) -> dict[str, Any]:
    done: dict[str, Any] = TrialOperator(task_id="trial", model=MODEL, asked=asked).execute(context())
    return done


def test_a_search_ends_in_the_ledger_in_mlflow_and_wakes_the_training(
    searchable: Project, mlflow_connection: str
) -> None:
    planned = plan()
    done = [run(asked) for number in range(2) for asked in ask(planned, number)]
    assert {item["state"] for item in done} <= {"complete", "pruned"}
    finish = FinishSearchOperator(task_id="finish", planned=planned, outlets=[SEARCHED])
    woken = context()
    for _ in range(2):
        found = finish.execute(woken)
    assert found["why"] in woken["outlet_events"][SEARCHED].extra["reason"]
    assert woken["outlet_events"][SEARCHED].extra["as_of"] == planned["as_of"]
    events = [entry.event for entry in searchable.ledger.entries()]
    assert events.count("searched") == 1

    address = RunLink().get_link(finish, ti_key=None)
    assert address.startswith(f"{mlflow_connection}/#/experiments/")
    client, parent = mlflow.MlflowClient(mlflow_connection), address.rpartition("/")[2]
    nested = client.search_runs(
        [client.get_run(parent).info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    assert {run.data.tags["run_key"] for run in nested} == {item["run_key"] for item in done}

    training = PlanTrainingOperator(task_id="plan", model=MODEL).execute(day_of(22))
    call = read_call(training["run_key"], searchable.store)
    assert call.inputs["search"] == planned["search"]
    assert call.spec["model"]["training"]["parameters"].items() >= found["parameters"].items()


def test_a_retried_trial_adopts_its_receipt(searchable: Project) -> None:
    (first, _) = ask(plan(), 0)
    done = run(first)
    receipt = read_receipt(done["run_key"], searchable.store)
    assert run(first) == done
    assert read_receipt(done["run_key"], searchable.store) == receipt
    assert ask(plan(), 0)[0] == first


def test_a_search_may_be_as_of_a_moment_that_a_person_asks_for(searchable: Project) -> None:
    asked = context_of(run_type=DagRunType.MANUAL, as_of="2024-01-20T00:00:00Z")
    planned = PlanSearchOperator(task_id="plan", model=MODEL).execute(asked)
    assert planned["as_of"] == tiny.midnight(20).isoformat()


def test_a_trial_that_can_never_succeed_fails_without_a_retry(searchable: Project) -> None:
    (searchable.specs / "models/late.py").write_text("def features(rows):\n    return {}\n")
    (first, _) = ask(plan(), 0)
    with pytest.raises(AirflowFailException, match=r"late.py"):
        run(first)


def test_a_search_that_was_not_planned_or_not_asked_is_not_finished(
    searchable: Project, mlflow_connection: str
) -> None:
    with pytest.raises(AirflowFailException, match="the search was not planned"):
        FinishSearchOperator(task_id="finish", planned=None).execute(context())
    with pytest.raises(AirflowFailException, match="0 of 4 trials were asked"):
        FinishSearchOperator(task_id="finish", planned=plan()).execute(context())
    assert searchable.state().searched == ()


def test_when_mlflow_does_not_answer_the_ledger_waits_for_it(
    searchable: Project, monkeypatch: pytest.MonkeyPatch, template: tuple[Path, str]
) -> None:
    """A retry tells both; a training that starts meanwhile takes nothing that nobody can look up."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_PERENNIAL_MLFLOW", '{"conn_type": "http", "host": "127.0.0.1", "port": 9}'
    )
    searchable.edit("models/late.yaml", "trials: 4", "trials: 1")
    planned = plan()
    run(ask(planned, 0)[0])
    with pytest.raises(AirflowException, match="start it or wait") as caught:
        FinishSearchOperator(task_id="finish", planned=planned).execute(context())
    assert not isinstance(caught.value, AirflowFailException)
    assert searchable.state().searched == ()
