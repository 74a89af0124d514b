"""Pods that say they did a step, and did not: each is caught by what it left in the store."""

from __future__ import annotations

import json

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.lifecycle.spec.compute import Compute
from include.lifecycle.steps import train
from include.lifecycle.store.receipts import Call, Receipt, write_call, write_receipt
from tests.docker.cluster import python_pod
from tests.docker.deferral import Task, run_to_end
from tests.docker.pods import Pods
from tests.lifecycle.tiny import MODEL, midnight

_BEGIN = """
import os
from include.lifecycle.store.objects import object_path, open_store
from include.lifecycle.store.receipts import Receipt, read_call, receipt_path, write_receipt
key, other, store = os.environ["PERENNIAL_CALL"], "{other}", open_store()
call = read_call(key, store)
def write(call, **outputs):
    write_receipt(Receipt(call=call, outputs=outputs, started=call.as_of), store)
"""
_WRONG_BYTES = """
trees = store.keep(b"trees")
write(call, trees=trees)
store.replace(object_path(trees.sha256), b"tears")
"""
_SOMEBODY_ELSES = "store.put_if_absent(receipt_path(key), store.get(receipt_path(other)))"
_OTHER_INPUTS = """
liar = call.model_copy(update={"inputs": {**call.inputs, "versions": {"trips": 1, "sky": 1}}})
write(liar)
store.put_if_absent(receipt_path(key), store.get(receipt_path(liar.run_key)))
"""


@pytest.fixture
def call(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A training that nobody did, with the profile of the cluster's namespace."""
    where = {"namespace": pods.cluster.namespace, "images": {"trainer": pods.image}}
    (pods.project.specs / "profiles/pods.yaml").write_text(json.dumps({"kubernetes": where}))
    monkeypatch.setenv("PERENNIAL_PROFILE", "pods")
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", '{"conn_type": "kubernetes"}')
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_STORE", '{"conn_type": "generic"}')
    project = pods.project
    call = train.plan(project.catalog.model(MODEL), project.catalog, midnight(23), project.store)
    return call.model_copy(update={"seed": len(project.store.list("calls"))})


@pytest.fixture
def another(pods: Pods, call: Call) -> str:
    """The run key of a call that has its receipt."""
    other = call.model_copy(update={"seed": 10**6})
    return write_receipt(Receipt(call=other, started=other.as_of), pods.project.store).run_key


@pytest.mark.parametrize(
    ("lie", "retried", "text"),
    [
        ("", True, "says that it succeeded, and there is no receipt"),
        (_WRONG_BYTES, False, "output trees is missing or changed"),
        (_SOMEBODY_ELSES, False, "receipt .* is missing or was changed"),
        (_OTHER_INPUTS, False, "receipt .* is missing or was changed"),
    ],
    ids=["no receipt", "wrong bytes", "somebody else's receipt", "a receipt for other inputs"],
)
def test_a_pod_that_lies_is_no_success(
    pods: Pods, call: Call, another: str, lie: str, retried: bool, text: str
) -> None:
    write_call(call, pods.project.store)
    liar = python_pod(pods.image, _BEGIN.replace("{other}", another) + lie)
    liar["metadata"]["labels"] |= {"perennial/run-key": call.run_key[:32]}
    liar["spec"]["containers"][0]["env"][0]["value"] = call.run_key
    pods.cluster.create(liar)

    with pytest.raises(AirflowException, match=text) as failed:
        run_to_end(lambda: _operator(call), Task("train"))

    assert isinstance(failed.value, AirflowFailException) is not retried
    assert len(pods.of(call)) == 1, "the task waited for the liar, and started no pod"


def _operator(call: Call) -> object:
    from mlops.operators.pod import StepPodOperator

    return StepPodOperator(task_id="train", run_key=call.run_key, compute=Compute(cpu=0.1, deadline="5m"))
