"""A training by several workers: one Job, pods on both nodes of a real cluster, a store on S3."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from mlops.waiting_task import waiting_task

from include.lifecycle.spec.compute import Compute
from include.lifecycle.spec.model import Training
from include.lifecycle.steps import train
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, read_receipt, write_call
from tests.docker.deferral import Task, context_of, run_to_end
from tests.docker.pods import Pods
from tests.lifecycle import tiny
from tests.lifecycle.steps.test_together import auc_of, gate_of
from tests.lifecycle.tiny import MODEL, midnight

WORKERS = 3
pytestmark = pytest.mark.usefixtures("profile")


def _training(pods: Pods, day: int, **inputs: Any) -> Call:
    """The training as of a day, recorded; with a checkpoint after each 10 trees."""
    project = pods.project
    model = project.catalog.model(MODEL)
    learned = {"max_trees": 60, "min_trees": 60, "segment": 10, "checkpoint": "0s"}
    often = Training.model_validate(model.training.model_dump() | learned)
    call = train.plan(
        model.model_copy(update={"training": often}), project.catalog, midnight(day), project.store
    )
    call = call.model_copy(update={"inputs": {**call.inputs, **inputs}})
    write_call(call, project.store)
    return call


def _operator(call: Call) -> Any:
    from mlops.operators.step import StepOperator

    class RunCall(StepOperator):
        """Runs a call that is recorded."""

        def plan(self, context: Any, store: Store) -> Call:
            return call

    needs = Compute.model_validate({"cpu": 0.5, "memory": "1Gi", "deadline": "5m", "workers": WORKERS})
    return RunCall(task_id="train", compute=needs)


def _job_of(pods: Pods, call: Call) -> list[dict[str, Any]]:
    found = pods.cluster.kubectl(
        "get", "jobs", f"--selector=perennial/run-key={call.run_key[:32]}", "--output=json"
    )
    jobs: list[dict[str, Any]] = json.loads(found)["items"]
    return jobs


def test_three_workers_on_two_nodes_lose_one_go_on_and_learn_as_well_as_one_machine(pods: Pods) -> None:
    call, nodes, made = _training(pods, 22, workers=WORKERS), set(), []

    def lose_one(trigger: Any) -> None:
        folder = f"checkpoints/{call.run_key}/gate"
        deadline = time.monotonic() + 240
        while not [path for path in pods.project.store.list(f"checkpoints/{call.run_key}") if folder in path]:
            assert time.monotonic() < deadline, pods.of(call)
            time.sleep(0.2)
        workers = pods.of(call)
        nodes.update(pod["spec"]["nodeName"] for pod in workers)
        assert len(workers) == WORKERS
        assert waiting_task(_job_of(pods, call)[0]["metadata"]["annotations"]).task_id == "train"
        pods.delete(next(pod["metadata"]["name"] for pod in workers if "-1-" in pod["metadata"]["name"]))

    def make() -> Any:
        made.append(_operator(call))
        return made[-1]

    done = run_to_end(make, Task("train"), meanwhile=lose_one)
    together = read_receipt(done["run_key"], pods.project.store)
    alone, _ = run_step(_training(pods, 22), pods.project.store)
    aucs = [auc_of(gate_of(receipt, pods.project)) for receipt in (alone, together)]
    assert together.counts == alone.counts
    assert aucs[1] == pytest.approx(aucs[0], abs=0.001)
    assert len(nodes) == 2
    used = [attempt.usage.cpu_seconds for attempt in made[-1]._pod.attempts()]
    assert len(used) >= WORKERS
    assert min(used) > 0, "of each pod what it was promised, for as long as it ran"
    assert pods.project.store.list(f"checkpoints/{call.run_key}") == []


def test_tasks_for_one_call_have_one_job_that_ends_with_the_task(pods: Pods) -> None:
    call = _training(pods, 21, workers=WORKERS)
    first, second = _operator(call), _operator(call)
    for operator in (first, second):
        with pytest.raises(TaskDeferred):
            operator.execute(context_of(Task("train")))
    assert len(_job_of(pods, call)) == 1
    second.on_kill()
    pods.await_gone(call)
    deadline = time.monotonic() + 60  # it goes when the last of its pods is gone
    while _job_of(pods, call):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_what_one_worker_refuses_fails_the_task_for_good(pods: Pods) -> None:
    wrong = pods.project.store.keep(tiny.FEATURES + b"\nraise ValueError('no such column')\n")
    call = _training(pods, 20, workers=WORKERS, features=wrong.model_dump(mode="json"))
    with pytest.raises(AirflowFailException, match=r"late.py: mend it: ValueError: no such column"):
        run_to_end(lambda: _operator(call), Task("train"))
    pods.await_gone(call)
