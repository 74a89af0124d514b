"""Rolling back, with a real MLflow: ledger, release document and aliases go together."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlops.operators.release import RollBackOperator

from include.lifecycle.release.document import read_release
from include.lifecycle.store.receipts import read_receipt
from tests.lifecycle import tiny
from tests.lifecycle.tiny import MODEL, Project, midnight
from tests.plugins.contexts import context_of

LONG_AFTER = midnight(5000)
"""Later than the wall clock of these tests."""


@pytest.fixture
def twice_released(world: Project, template: tuple[Path, str]) -> Project:
    """A model whose version 2 took the place of version 1."""
    tiny.crown(world, tiny.train_as_of(world, midnight(20)), "1")
    tiny.crown(world, read_receipt(template[1], world.store), "2")
    return world


def _asked(run_id: str = "by hand", **params: Any) -> dict[str, Any]:
    return context_of(
        dag_id="perennial.rollback",
        run_id=run_id,
        run_after=LONG_AFTER,
        user="anna",
        reason="too many",
        **params,
    )


def _roll_back(context: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = RollBackOperator(task_id="roll_back", model=MODEL).execute(context)
    return found


def _answered(world: Project) -> str:
    document = read_release(MODEL, world.store)
    assert document is not None
    assert document.champion is not None
    return document.champion.version


def test_registry_and_traffic_go_back_together_with_name_and_reason(
    twice_released: Project, mlflow_connection: str
) -> None:
    client = MlflowClient(mlflow_connection)
    with suppress(MlflowException):
        client.delete_registered_model(MODEL)  # another test's, with an anchor of another ledger
    client.create_registered_model(MODEL)
    for _ in range(2):
        client.create_model_version(MODEL, source="s3://elsewhere/late")
    try:
        for _ in range(2):  # a retry does it once
            assert _roll_back(_asked())["champion"] == "1"
        assert _answered(twice_released) == "1"
        assert str(client.get_registered_model(MODEL).aliases["champion"]) == "1"
    finally:
        client.delete_registered_model(MODEL)
    entry = twice_released.ledger.entries()[-1]
    assert (entry.event, entry.actor, entry.why) == ("rolled_back", "anna", "too many")
    assert entry.data == {"version": "2", "to": "1"}


def test_with_the_registry_away_traffic_goes_back_and_the_task_is_tried_again(
    twice_released: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = {"conn_type": "http", "host": "127.0.0.1", "port": 9}
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_MLFLOW", json.dumps(away))
    with pytest.raises(AirflowException, match="MLflow") as caught:
        _roll_back(_asked())
    assert not isinstance(caught.value, AirflowFailException)
    assert _answered(twice_released) == "1"


def test_a_version_that_was_never_champion_is_refused_without_a_retry(twice_released: Project) -> None:
    with pytest.raises(AirflowFailException, match=r"version 7 was never champion.*: 1"):
        _roll_back(_asked(version="7"))
    assert twice_released.state().champion is not None
    assert twice_released.ledger.entries()[-1].event == "promoted"
