"""From published rows to an answering champion and back: the model's operators, with a real MLflow."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from mlops.links import ReportLink, RunLink, VersionLink
from mlops.operators.approve import ApproveOperator
from mlops.operators.canary import CanaryOperator
from mlops.operators.monitor import GovernOperator, MeasureOperator
from mlops.operators.release import AwaitServerOperator, PromoteOperator, ReconcileOperator, StageOperator
from mlops.operators.train import (
    EvaluateOperator,
    GateOperator,
    PlanTrainingOperator,
    RegisterOperator,
    TrainOperator,
)

from include.lifecycle.model.registry import Registry
from include.lifecycle.release.decisions import record
from include.lifecycle.release.document import read_release, write_release
from include.lifecycle.release.moves import roll_back
from include.lifecycle.release.reconcile import publish, release_document
from include.lifecycle.store.receipts import read_receipt, write_receipt
from tests.lifecycle import tiny
from tests.lifecycle.steps.test_watching import measured_window, serve
from tests.lifecycle.tiny import ACTOR, MODEL, Project, midnight
from tests.plugins.contexts import context_of, day_of
from tests.servers import Answer, Api, Asked

CANDIDATE = Asset("late.candidate", uri="perennial://model/late/candidate")
DRIFT = Asset("late.drift", uri="perennial://model/late/drift")


def _plan(context: dict[str, Any]) -> dict[str, Any]:
    planned: dict[str, Any] = PlanTrainingOperator(task_id="plan", model=MODEL).execute(context)
    return planned


def _gated(context: dict[str, Any]) -> dict[str, Any]:
    """Plan, train, evaluate and gate."""
    trained = TrainOperator(task_id="train", model=MODEL, planned=_plan(context)).execute(context)
    evaluated = EvaluateOperator(task_id="evaluate", model=MODEL, trained=trained).execute(context)
    gated: dict[str, Any] = GateOperator(task_id="gates", model=MODEL, evaluated=evaluated).execute(context)
    return gated


def test_a_version_is_trained_registered_released_and_its_links_lead_to_mlflow(
    world: Project, mlflow_connection: str
) -> None:
    context = day_of(22)
    register = RegisterOperator(task_id="register", model=MODEL, gated=_gated(context), outlets=[CANDIDATE])
    version = register.execute(context)["version"]
    assert context["outlet_events"][CANDIDATE].extra == {"version": version}
    assert RunLink().get_link(register, ti_key=None).startswith(f"{mlflow_connection}/#/experiments/")
    assert VersionLink().get_link(register, ti_key=None).endswith(f"/models/late/versions/{version}")
    assert register.execute(context)["version"] == version

    stage = StageOperator(task_id="stage", model=MODEL)
    staged = stage.execute(context_of(dag_id="late.release"))
    assert VersionLink().get_link(stage, ti_key=None).endswith(f"/versions/{version}")
    approve = ApproveOperator(task_id="approve", model=MODEL, staged=staged, within=timedelta(days=1))
    canary = CanaryOperator(task_id="canary", model=MODEL, staged=approve.execute(context_of()))
    climbed = canary.execute(context_of())
    promote = PromoteOperator(task_id="promote", model=MODEL, climbed=climbed)
    assert promote.execute(context_of(dag_id="late.release"))["event"] == "promoted"
    with pytest.raises(AirflowSkipException, match="decided on already"):
        promote.execute(context_of(dag_id="late.release"))
    with pytest.raises(AirflowSkipException, match="no proposal waits"):
        stage.execute(context_of(dag_id="late.release"))

    reconcile = ReconcileOperator(task_id="reconcile", model=MODEL)
    state = world.state()
    for _ in range(2):
        found = reconcile.execute(context_of(dag_id="late.release"))
        assert found == {"champion": version, "ledger_seq": state.seq}
    assert Registry(mlflow_connection).anchor(MODEL) == (state.seq, state.hash)
    document = read_release(MODEL, world.store)
    assert document is not None
    assert document.champion is not None
    assert document.champion.version == version


def test_the_release_dag_may_be_triggered_before_there_is_any_version(
    project: Project, mlflow_connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that MLflow has never heard of."""
    for ending in ("yaml", "py"):
        (project.specs / f"models/late.{ending}").rename(project.specs / f"models/newborn.{ending}")
    with pytest.raises(AirflowSkipException, match="no proposal waits"):
        StageOperator(task_id="stage", model="newborn").execute(context_of())
    with pytest.raises(AirflowSkipException, match="no champion yet"):
        ReconcileOperator(task_id="reconcile", model="newborn").execute(context_of())
    with pytest.raises(AirflowSkipException, match="no champion yet"):
        AwaitServerOperator(task_id="await_server", model="newborn").execute(context_of())


def test_a_server_that_does_not_answer_with_the_champion_is_asked_again_later(
    world: Project, template: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.crown(world, read_receipt(template[1], world.store), "5")
    write_release(release_document(MODEL, world.state(), world.store), world.store)
    connection = {"conn_type": "http", "host": "127.0.0.1", "port": 9}
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_SERVER", json.dumps(connection))
    operator = AwaitServerOperator(task_id="await_server", model=MODEL, patience_seconds=0.3)
    with pytest.raises(AirflowException, match="does not answer with version 5") as caught:
        operator.execute(context_of())
    assert not isinstance(caught.value, AirflowFailException)


def test_who_waits_for_a_champion_that_is_rolled_back_meanwhile_waits_for_the_one_before(
    world: Project, template: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.crown(world, tiny.train_as_of(world, midnight(20)), "4")
    tiny.crown(world, read_receipt(template[1], world.store), "5")
    publish(MODEL, world.store)

    def roll_back_and_answer(asked: Asked) -> Answer:
        record(world.ledger, roll_back("4", "too slow", ACTOR, midnight(5000)), ACTOR)
        publish(MODEL, world.store)
        return Answer(json.dumps({"versions": ["4"]}))

    with Api(roll_back_and_answer) as server:
        connection = {"conn_type": "http", "host": "127.0.0.1", "port": server.connection().port}
        monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_SERVER", json.dumps(connection))
        operator = AwaitServerOperator(task_id="await_server", model=MODEL, patience_seconds=2)
        assert operator.execute(context_of()) == "4"


def test_a_version_that_fails_a_gate_is_skipped_with_the_reason_and_the_lease_is_free(world: Project) -> None:
    world.edit("models/late.yaml", "at_least: 0.6", "at_least: 0.999")
    with pytest.raises(AirflowSkipException, match=r"auc .* not >= 0.999"):
        _gated(day_of(22))
    assert world.state().lease is None
    assert world.state().trainings[0].outcome == "rejected"


def test_a_training_that_can_never_succeed_fails_without_a_retry_and_gives_the_lease_back(
    world: Project,
) -> None:
    (world.specs / "models/late.py").write_text("def features(rows):\n    return {}\n")
    planned = _plan(day_of(22))
    with pytest.raises(AirflowFailException, match=r"late.py"):
        TrainOperator(task_id="train", model=MODEL, planned=planned).execute(day_of(22))
    assert world.state().lease is None
    assert world.state().trainings[0].outcome == "failed"


def test_an_evaluation_that_cannot_succeed_gives_the_lease_back_and_goes_on_once_cured(
    world: Project, mlflow_connection: str
) -> None:
    context = day_of(22)
    trained = TrainOperator(task_id="train", model=MODEL, planned=_plan(context)).execute(context)
    evaluate = EvaluateOperator(task_id="evaluate", model=MODEL, trained=trained)
    with pytest.MonkeyPatch.context() as older:
        older.setattr("include.lifecycle.steps.running.code_hash", lambda step: "an older image")
        with pytest.raises(AirflowFailException, match="this code is not the code of the call"):
            evaluate.execute(context)
    assert world.state().lease is None
    assert world.state().trainings[0].outcome == "failed"

    gated = GateOperator(task_id="gates", model=MODEL, evaluated=evaluate.execute(context)).execute(context)
    RegisterOperator(task_id="register", model=MODEL, gated=gated).execute(context)
    assert [item.run_key for item in world.state().undecided] == [trained["run_key"]]


def test_while_a_training_is_in_flight_the_night_skips_and_a_person_waits(world: Project) -> None:
    _plan(day_of(2, run_id="first"))
    with pytest.raises(AirflowSkipException, match=r"late.train/first is in flight"):
        _plan(day_of(24, run_id="second"))
    with pytest.raises(AirflowException, match=r"late.train/first is in flight") as caught:
        _plan(day_of(22, run_id="third", run_type=DagRunType.BACKFILL))
    assert not isinstance(caught.value, AirflowFailException)


def test_a_person_gets_a_training_that_the_governor_would_not_have_made(
    world: Project, template: tuple[Path, str]
) -> None:
    tiny.crown(world, read_receipt(template[1], world.store), "1")
    with pytest.raises(AirflowSkipException, match="nothing new"):
        _plan(day_of(23))
    planned = _plan(context_of(run_type=DagRunType.MANUAL, user="ann", as_of="2024-01-20T00:00:00Z"))
    assert planned["as_of"] == midnight(20).isoformat()
    assert planned["why"] == "asked for by ann"


def test_a_manual_training_without_a_logical_date_is_as_of_where_the_data_end(world: Project) -> None:
    assert (
        _plan(context_of(run_type=DagRunType.MANUAL, run_after=midnight(99)))["as_of"]
        == midnight(25).isoformat()
    )


def test_monitoring_skips_while_there_is_nothing_to_watch(world: Project) -> None:
    with pytest.raises(AirflowSkipException, match="nothing to watch"):
        MeasureOperator(task_id="measure", model=MODEL).execute(day_of(23))


def test_a_window_is_measured_judged_and_tells_nobody_unless_it_leads_to_retraining(
    world: Project, template: tuple[Path, str]
) -> None:
    tiny.crown(world, read_receipt(template[1], world.store), "1")
    context = day_of(23, dag_id="late.monitor")
    measure = MeasureOperator(task_id="measure", model=MODEL)
    measured = measure.execute(context)
    assert measured["end"] == "2024-01-24T00:00:00Z"
    assert ReportLink().get_link(measure, ti_key=None) == ""
    govern = GovernOperator(task_id="govern", model=MODEL, measured=measured, outlets=[DRIFT])
    with pytest.raises(AirflowSkipException, match="the latest window is good"):
        govern.execute(context)
    assert len(context["outlet_events"]) == 0
    assert world.state().windows[-1].end == midnight(24)


def test_a_window_of_labelled_predictions_tells_its_metrics_and_links_its_report(world: Project) -> None:
    trained = tiny.train_as_of(world, midnight(19))
    tiny.crown(world, trained, "1")
    serve(world, trained, range(19, 24))
    measure = MeasureOperator(task_id="measure", model=MODEL)
    measured = measure.execute(day_of(23, dag_id="late.monitor"))
    assert 0 < measured["brier"] < 1
    assert 0 < measured["auc"] <= 1
    assert measure.addresses[ReportLink].endswith("/report")


def test_bad_windows_wake_the_training_with_as_of_and_reason(world: Project) -> None:
    found = {}
    for day in (22, 23):
        receipt = write_receipt(measured_window(day), world.store)
        context = day_of(day)
        govern = GovernOperator(
            task_id="govern", model=MODEL, measured={"run_key": receipt.run_key}, outlets=[DRIFT]
        )
        if day == 22:
            with pytest.raises(AirflowSkipException):
                govern.execute(context)
            continue
        found = govern.execute(context)
        assert context["outlet_events"][DRIFT].extra == found
    assert found["as_of"] == midnight(23).isoformat()
    assert "2 of the last 2 windows are bad" in found["reason"]
