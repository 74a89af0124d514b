"""The operator, its real trigger, real pods on a real cluster, a store on S3."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from include.lifecycle.spec.compute import Compute
from include.lifecycle.steps import train
from include.lifecycle.steps.code import git_commit
from include.lifecycle.store.receipts import Call, read_receipt, write_call
from tests.docker.cluster import python_pod
from tests.docker.deferral import Task, context_of, run_to_end
from tests.docker.pods import Pods
from tests.lifecycle.tiny import MODEL, midnight
from tests.system.faults import require_commands, run_command

SMALL = {"cpu": 0.1, "memory": "1Gi", "deadline": "5m"}
pytestmark = pytest.mark.usefixtures("profile")


def _training(pods: Pods, day: int, **needs: Any) -> Call:
    """The training as of a day, recorded."""
    project = pods.project
    call = train.plan(project.catalog.model(MODEL), project.catalog, midnight(day), project.store)
    call = call.model_copy(update={"inputs": {**call.inputs, **needs}})
    write_call(call, project.store)
    return call


def _endless(pods: Pods) -> Call:
    """A training that takes longer than a test."""
    project = pods.project
    model = project.catalog.model(MODEL)
    learned = model.training.model_copy(update={"max_trees": 10**6, "min_trees": 10**6})
    endless = model.model_copy(update={"training": learned})
    call = train.plan(endless, project.catalog, midnight(14), project.store)
    write_call(call, project.store)
    return call


def _operator(call: Call, **needs: Any) -> Any:
    from mlops.operators.pod import StepPodOperator

    compute = Compute.model_validate({**SMALL, **needs})
    return StepPodOperator(task_id="train", run_key=call.run_key, compute=compute)


def _run(call: Call, **needs: Any) -> Any:
    return run_to_end(lambda: _operator(call, **needs), Task("train"))


def _deferred(call: Call, **needs: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        _operator(call, **needs).execute(context_of(Task("train")))
    return deferred.value


def test_a_training_is_done_in_a_pod_that_says_what_it_is(pods: Pods) -> None:
    call = _training(pods, 15)
    assert _run(call) == call.run_key
    receipt = read_receipt(call.run_key, pods.project.store)
    assert receipt.counts["rows"] > 0
    assert receipt.commit == git_commit(), "though the image has no history"
    (pod,) = pods.of(call)
    labels = pod["metadata"]["labels"]
    assert (labels["perennial/model"], labels["perennial/step"]) == (MODEL, "train")
    assert labels["perennial/attempt"] == "1"
    assert "args" not in pod["spec"]["containers"][0]
    assert _run(call) == call.run_key
    assert len(pods.of(call)) == 1, "what is proven starts no pod"


def test_a_pod_that_ended_well_while_nobody_watched_is_believed_by_its_receipt(pods: Pods) -> None:
    call = _training(pods, 16)
    _deferred(call)
    pods.await_end(call)
    assert _run(call) == call.run_key
    assert len(pods.of(call)) == 1


def test_tasks_for_one_call_wait_for_one_pod_and_a_second_pod_is_ended(pods: Pods) -> None:
    call = _training(pods, 17)
    first = _deferred(call)
    pods.start_another(call)
    second = _deferred(call)
    assert first.trigger.pod_name == second.trigger.pod_name
    assert _run(call) == call.run_key
    names = [pod["metadata"]["name"] for pod in pods.of(call) if "deletionTimestamp" not in pod["metadata"]]
    assert names == [first.trigger.pod_name]


def test_a_task_that_is_killed_takes_its_pod_with_it(pods: Pods) -> None:
    call = _training(pods, 18)
    operator = _operator(call)
    with pytest.raises(TaskDeferred):
        operator.execute(context_of(Task("train")))
    operator.on_kill()
    pods.await_gone(call)


def test_a_pod_whose_node_does_not_answer_is_given_up(pods: Pods) -> None:
    require_commands()
    call, lost = _endless(pods), []

    def lose_its_node(trigger: Any) -> None:
        lost.append(trigger.pod_name)
        pods.await_running(call)
        (pod,) = pods.of(call)
        assert run_command("CLUSTER_FAULT", f"{pod['spec']['nodeName']}-kubelet")
        pods.cluster.kubectl("delete", "pod", trigger.pod_name, "--grace-period=1", "--wait=false")

    try:
        with pytest.raises(AirflowException, match=r"its node was lost.*another one goes on") as failed:
            run_to_end(lambda: _operator(call), Task("train"), meanwhile=lose_its_node)
        assert not isinstance(failed.value, AirflowFailException)
        again = _operator(call)
        with pytest.raises(TaskDeferred) as deferred:
            again.execute(context_of(Task("train", try_number=2)))
        assert deferred.value.trigger.pod_name not in lost
        again.on_kill()
    finally:
        run_command("CLUSTER_UP")


def test_while_the_api_server_is_away_for_a_moment_no_try_is_lost(pods: Pods) -> None:
    require_commands()
    call = _training(pods, 13)
    assert run_command("CLUSTER_FAULT", "apiserver")
    back = threading.Timer(3, run_command, ["CLUSTER_UP"])
    back.start()
    try:
        assert _run(call) == call.run_key
    finally:
        back.join()


def test_a_pod_that_is_lost_is_a_failure_that_a_retry_cures(pods: Pods) -> None:
    call = _training(pods, 19)
    with pytest.raises(AirflowException, match="train: ") as failed:
        run_to_end(lambda: _operator(call), Task("train"), meanwhile=lambda trigger: pods.kill(call))
    assert not isinstance(failed.value, AirflowFailException)
    assert _run(call) == call.run_key


@pytest.mark.parametrize(
    ("needs", "retried", "text"),
    [
        ({"deadline": "1s"}, False, r"raise compute\.train\.deadline"),
        ({"gpu": 2, "patience": "2s"}, True, r"Unschedulable: 0/2 nodes.*Insufficient nvidia\.com/gpu"),
        ({"image": "lost"}, False, r"cannot pull its image .*kubernetes\.images"),
    ],
)
def test_each_failure_names_its_cause_and_its_cure(
    pods: Pods, needs: dict[str, Any], retried: bool, text: str
) -> None:
    call = _training(pods, 20)
    with pytest.raises(AirflowException, match=text) as failed:
        _run(call, **needs)
    assert isinstance(failed.value, AirflowFailException) is not retried
    pods.await_gone(call)


def test_a_pod_that_takes_more_memory_than_it_may_is_a_failure_that_names_the_cure(pods: Pods) -> None:
    with pytest.raises(AirflowFailException, match=r"raise compute\.train\.memory"):
        _run(_training(pods, 20, **pods.greedy()))


def test_a_training_waits_for_its_turn_and_never_runs_on_the_cpu_in_place_of_a_gpu(pods: Pods) -> None:
    """Each of the two nodes offers a GPU, with no device behind it."""
    busy = [pods.cluster.create(_sleeper(pods))["metadata"]["name"] for _ in range(2)]
    free = threading.Timer(8, lambda: [pods.delete(name) for name in busy])
    free.start()
    started = time.monotonic()
    with pytest.raises(AirflowFailException, match="a GPU was asked for and none is visible"):
        _run(_training(pods, 21, device="cuda"), gpu=1, queue="nightly")
    assert time.monotonic() - started > 8


def _sleeper(pods: Pods) -> dict[str, Any]:
    pod = python_pod(pods.image, "import time; time.sleep(600)")
    pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "1"
    return pod
