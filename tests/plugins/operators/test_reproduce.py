"""A version that was trained and registered by the other operators, with a real MLflow, is made again."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from mlops.operators.reproduce import ReproduceOperator
from mlops.operators.train import RegisterOperator

from include.lifecycle.store.receipts import amend_receipt, read_receipt
from tests.lifecycle.tiny import MODEL, Project
from tests.plugins.contexts import context_of, day_of
from tests.plugins.operators.test_loop import _gated


@pytest.fixture
def version(world: Project, mlflow_connection: str) -> str:
    """A version in MLflow and in the ledger."""
    context = day_of(22)
    register = RegisterOperator(task_id="register", model=MODEL, gated=_gated(context))
    return str(register.execute(context)["version"])


def _reproduce(version: str | None, run_id: str = "first") -> dict[str, Any]:
    operator = ReproduceOperator(task_id="reproduce", model=MODEL)
    done: dict[str, Any] = operator.execute(
        context_of(dag_id="late.reproduce", run_id=run_id, version=version)
    )
    return done


def test_a_registered_version_is_identical_and_a_retry_adopts_what_was_found(
    version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = _reproduce(version)
    assert (done["version"], done["identical"]) == (version, True)
    said = capsys.readouterr().out
    assert f"late version {version} is identical" in said
    assert "done before" not in said
    assert _reproduce(version) == done
    assert "done before" in capsys.readouterr().out
    assert _reproduce(version, "second")["run_key"] != done["run_key"]


def test_a_version_whose_bytes_differ_fails_without_a_retry_and_names_them(
    world: Project, version: str
) -> None:
    (training,) = world.state().trainings
    trained = read_receipt(training.run_key, world.store)
    other = world.store.keep(b"other bytes")
    amend_receipt(
        trained.model_copy(update={"outputs": {**trained.outputs, "booster.ubj": other}}), world.store
    )
    for _ in range(2):
        with pytest.raises(
            AirflowFailException, match=rf"differs in 1 of .*\n  booster.ubj: {other.sha256[:12]}"
        ):
            _reproduce(version)


def test_an_empty_form_means_the_champion(world: Project) -> None:
    with pytest.raises(AirflowFailException, match="late has no champion: say which version to reproduce"):
        _reproduce(None)
