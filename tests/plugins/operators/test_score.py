"""Runs by hand, by schedule and by backfill: each scores its own span."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from mlops.assets import scored
from mlops.links import VersionLink
from mlops.operators.score import ScoreOperator

from include.lifecycle.data.publishing import scores_table
from include.lifecycle.store.receipts import read_receipt
from tests.lifecycle import tiny
from tests.lifecycle.tiny import MODEL, Project, midnight
from tests.plugins.contexts import context_of, day_of


@pytest.fixture(autouse=True)
def _champion(world: Project, template: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 1; and where MLflow would be, which scoring only links to."""
    tiny.crown(world, read_receipt(template[1], world.store), "1")
    connection = {"conn_type": "http", "host": "mlflow", "port": 5000}
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_MLFLOW", json.dumps(connection))


def _score(context: dict[str, Any], operator: ScoreOperator | None = None) -> dict[str, Any]:
    done: dict[str, Any] = (operator or ScoreOperator(task_id="score", model=MODEL)).execute(context)
    return done


def _by_hand(**form: str) -> dict[str, Any]:
    interval = midnight(11), midnight(12)
    return context_of(dag_id="late.score", run_type=DagRunType.MANUAL, interval=interval, **form)


def test_a_run_by_hand_scores_the_span_of_the_form_else_the_newest_partition(world: Project) -> None:
    newest = _score(_by_hand())
    assert (newest["first"], newest["last"], newest["version"]) == ("2024-01-24", "2024-01-24", "1")
    asked = _score(_by_hand(start="2024-01-20T00:00:00Z", end="2024-01-22T00:00:00Z", version="1"))
    assert (asked["first"], asked["last"]) == ("2024-01-20", "2024-01-21")
    assert asked["counts"] == {"rows_in": 120, "rows_scored": 120, "replaced": 2}
    assert set(scores_table(MODEL, world.store).partitions()) == {"2024-01-20", "2024-01-21", "2024-01-24"}
    assert not [entry for entry in world.ledger.entries() if entry.event == "failed"]
    assert any(entry.data.get("step") == "score" for entry in world.ledger.entries()), "it is billed"


def test_a_run_of_an_interval_scores_what_ended_in_it_waits_for_what_is_to_come_and_skips_a_gap(
    world: Project,
) -> None:
    assert _score(day_of(23, dag_id="late.score"))["first"] == "2024-01-23"
    with pytest.raises(AirflowException, match=r"waiting for trips.ingest") as waiting:
        _score(day_of(25, dag_id="late.score"))
    assert not isinstance(waiting.value, AirflowFailException), "it is tried again"
    tiny.put(world, "trips", "2024-01-26", tiny.trips(26))
    with pytest.raises(AirflowSkipException, match="no published partition ends after 2024-01-25 00:00"):
        _score(day_of(25, dag_id="late.score"))
    noon = midnight(23) + timedelta(hours=12)
    weekly = context_of(dag_id="late.score", interval=(noon - timedelta(days=3), noon))
    found = _score(weekly)
    assert (found["first"], found["last"]) == ("2024-01-20", "2024-01-22")


def test_who_waits_for_the_scores_learns_which_they_are_and_the_version_is_linked(world: Project) -> None:
    asset = scored(world.catalog.model(MODEL))
    operator = ScoreOperator(task_id="score", model=MODEL, outlets=[asset])
    context = _by_hand()
    done = _score(context, operator)
    extra = context["outlet_events"][asset].extra
    assert extra == {name: done[name] for name in ("version", "table_version", "first", "last")}
    assert operator.addresses[VersionLink] == "http://mlflow:5000/#/models/late/versions/1"


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"version": "9"}, "late has no version 9; it has: 1"),
        ({"start": "2024-01-20T00:00:00Z", "end": "2024-01-20T00:00:00Z"}, "must be before end"),
        ({"start": "soon"}, "start: found 'soon'; write a moment such as"),
        ({"start": "2025-01-20T00:00:00Z"}, "there are 2024-01-01 to 2024-01-24: ask for some of those"),
    ],
)
def test_a_form_that_asks_for_nothing_is_not_tried_again(form: dict[str, str], why: str) -> None:
    with pytest.raises(AirflowFailException, match=why):
        _score(_by_hand(**form))
