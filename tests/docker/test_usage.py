"""What pods of a real cluster used and cost is in the model's ledger, whatever became of them."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from mlops.operators.train import TrainOperator

from include.lifecycle.release.costs import USED
from include.lifecycle.spec.compute import Compute
from include.lifecycle.steps import train
from include.lifecycle.store.ledger import Entry
from include.lifecycle.store.receipts import Call, read_receipt, write_call
from tests.docker.deferral import Task, run_to_end
from tests.docker.pods import Pods
from tests.lifecycle.tiny import MODEL, midnight

SMALL = {"cpu": 0.1, "memory": "1Gi", "deadline": "5m"}
PRICES = {"currency": "EUR", "cpu_hour": 3600, "memory_gib_hour": 360, "gpu_hour": 7200}


@pytest.fixture(autouse=True)
def profile(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile of the cluster's namespace, with prices: a core's second costs a euro."""
    for name, text in pods.airflow_environment(prices=PRICES).items():
        monkeypatch.setenv(name, text)


def _call(pods: Pods, day: int, **needs: Any) -> Call:
    project = pods.project
    call = train.plan(project.catalog.model(MODEL), project.catalog, midnight(day), project.store)
    # A seed of its own: other tests of this namespace look for the pods of the calls that would be equal.
    call = call.model_copy(update={"seed": 7, "inputs": {**call.inputs, **needs}})
    write_call(call, project.store)
    return call


def _train(call: Call, meanwhile: Any = lambda trigger: None) -> None:
    compute = Compute.model_validate(SMALL)
    planned = {"run_key": call.run_key}
    run_to_end(
        lambda: TrainOperator(task_id="train", model=MODEL, planned=planned, compute=compute),
        Task("train"),
        meanwhile,
    )


def _used(pods: Pods, call: Call) -> list[Entry]:
    entries = pods.project.ledger.entries()
    return [item for item in entries if item.event == USED and item.data["run_key"] == call.run_key]


def _assert_promised(entry: Entry, cpu: float, gib: float) -> None:
    """What was promised, times the time; prices are those of seconds."""
    seconds, usage = entry.data["usage"]["seconds"], entry.data["usage"]
    assert seconds > 0
    assert usage["cpu_seconds"] == pytest.approx(cpu * seconds, abs=0.01)
    assert usage["memory_gib_seconds"] == pytest.approx(gib * seconds, abs=0.01)
    assert usage["gpu_seconds"] == 0
    assert entry.data["cost"] == pytest.approx(usage["cpu_seconds"] + usage["memory_gib_seconds"] / 10)
    assert entry.data["currency"] == "EUR"


def test_a_pod_costs_what_it_was_promised_for_as_long_as_it_ran_once(pods: Pods) -> None:
    call = _call(pods, 15)
    for _ in range(2):
        _train(call)
    (entry,) = _used(pods, call)
    (pod,) = pods.of(call)
    assert entry.data["attempt"] == pod["metadata"]["uid"]
    assert entry.data["where"] == f"pod {pod['metadata']['name']}"
    _assert_promised(entry, cpu=0.1, gib=1)
    receipt = read_receipt(call.run_key, pods.project.store)
    assert receipt.attempt is not None
    assert receipt.attempt.id == pod["metadata"]["uid"]
    assert 0 < receipt.attempt.usage.seconds <= entry.data["usage"]["seconds"] + 1


def test_a_pod_that_fails_costs_money_too_and_each_is_paid_once(pods: Pods) -> None:
    call = _call(pods, 16, device="cuda")
    for number in (1, 2):
        with pytest.raises(AirflowException, match="none is visible"):
            _train(call)
        entries = _used(pods, call)
        assert len(entries) == number
    assert {item.data["attempt"] for item in entries} == {pod["metadata"]["uid"] for pod in pods.of(call)}
    for entry in entries:
        _assert_promised(entry, cpu=0.1, gib=1)


def test_a_pod_that_took_too_much_memory_is_paid(pods: Pods) -> None:
    call = _call(pods, 17, **pods.greedy())
    with pytest.raises(AirflowException, match=r"raise compute\.train\.memory"):
        _train(call)
    (entry,) = _used(pods, call)
    _assert_promised(entry, cpu=0.1, gib=1)
    assert entry.data["where"].startswith("pod ")


def test_a_pod_that_was_taken_away_with_its_status_is_paid_until_it_was_missed(pods: Pods) -> None:
    call = _call(pods, 18)

    def preempt(trigger: Any) -> None:
        pods.await_running(call)
        pods.kill(call)

    with pytest.raises(AirflowException):
        _train(call, preempt)
    (entry,) = _used(pods, call)
    _assert_promised(entry, cpu=0.1, gib=1)
    _train(call)
    assert len(_used(pods, call)) == 2
