from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client import models as k8s
from mlops.pod_failure import is_overdue, why
from mlops.pod_spec import CONTAINER

from include.lifecycle.errors import LifecycleError, Rejected, Transient


def _pod(phase: str = "Failed", **status: Any) -> k8s.V1Pod:
    return k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name="late-train-x"), status=k8s.V1PodStatus(phase=phase, **status)
    )


def _ended(code: int, reason: str = "Error", message: str | None = None) -> k8s.V1Pod:
    ended = k8s.V1ContainerStateTerminated(exit_code=code, reason=reason, message=message)
    return _in_state(terminated=ended)


def _waiting(reason: str, message: str = "") -> k8s.V1Pod:
    return _in_state("Pending", waiting=k8s.V1ContainerStateWaiting(reason=reason, message=message))


def _in_state(phase: str = "Failed", **state: Any) -> k8s.V1Pod:
    status = k8s.V1ContainerStatus(
        name=CONTAINER,
        image="i",
        image_id="i",
        ready=False,
        restart_count=0,
        state=k8s.V1ContainerState(**state),
    )
    return _pod(phase, container_statuses=[status])


def _condition(kind: str, status: str, reason: str, message: str) -> k8s.V1PodCondition:
    return k8s.V1PodCondition(type=kind, status=status, reason=reason, message=message)


UNSCHEDULABLE = _pod(
    "Pending",
    conditions=[
        _condition("PodScheduled", "False", "Unschedulable", "0/2 nodes: 2 Insufficient nvidia.com/gpu.")
    ],
)
NO_COMMAND = 'runc create failed: unable to start container process: exec: "x":'
TAINTED = _condition("DisruptionTarget", "True", "DeletionByTaintManager", "node is not ready")


@pytest.mark.parametrize(
    ("pod", "kind", "text"),
    [
        (_ended(137, "OOMKilled"), Rejected, "raise compute.train.memory"),
        (_ended(137), Transient, "killed"),
        (_ended(143), Transient, "last checkpoint"),
        (_ended(1, message="x\nRejected: late.yaml: no rows"), Rejected, "Rejected: late.yaml: no rows"),
        (_ended(75, message="Transient: store is away"), Transient, "store is away"),
        (_ended(2, message="usage: …"), Rejected, "exit code 2"),
        (_ended(0, "Completed"), Transient, "there is no receipt"),
        (_ended(255, "Unknown"), Transient, "nobody saw it (Unknown): its node was lost"),
        (_ended(137, "ContainerStatusUnknown"), Transient, "nobody saw it (ContainerStatusUnknown)"),
        (_ended(255), Rejected, "exit code 255"),
        (_ended(128, "StartError", "shim: context canceled"), Transient, "StartError: shim: context"),
        (_ended(128, "StartError", f"{NO_COMMAND} executable file not found"), Rejected, "cannot start"),
        (_ended(128, "StartError", "open /run/x: no such file or directory"), Transient, "cannot start"),
        (_waiting("CreateContainerError", "context deadline exceeded"), Transient, "context deadline"),
        (_waiting("RunContainerError", f"{NO_COMMAND} permission denied"), Rejected, "permission denied"),
        (_waiting("ErrImagePull", "not found"), Rejected, "kubernetes.images"),
        (_waiting("ImagePullBackOff", "i/o timeout"), Transient, "kubernetes.images"),
        (_waiting("CreateContainerConfigError", 'secret "s" not found'), Rejected, "create the Secret"),
        (_pod(reason="DeadlineExceeded"), Rejected, "raise compute.train.deadline"),
        (_pod(reason="Evicted", message="The node was low on resource: memory."), Transient, "low on"),
        (
            _pod(reason="Evicted", message="Usage of EmptyDir volume exceeds the limit"),
            Rejected,
            "exceeds the limit",
        ),
        (_pod(conditions=[TAINTED]), Transient, "DeletionByTaintManager"),
        (UNSCHEDULABLE, Transient, "Unschedulable: 0/2 nodes: 2 Insufficient nvidia.com/gpu"),
        (None, Transient, "the pod is gone"),
    ],
)
def test_each_end_of_a_pod_is_an_error_that_names_cause_and_cure(
    pod: k8s.V1Pod | None, kind: type[LifecycleError], text: str
) -> None:
    error = why(pod, "train")
    assert type(error) is kind
    assert text in str(error)
    assert str(error).startswith("train: ")


def test_a_pod_that_its_node_does_not_end_is_overdue_and_another_one_goes_on() -> None:
    pod, now = _in_state("Running", running=k8s.V1ContainerStateRunning()), datetime(2024, 1, 1, tzinfo=UTC)
    assert not is_overdue(pod, now)
    pod.metadata.deletion_timestamp = now - timedelta(seconds=29)
    assert not is_overdue(pod, now)
    assert is_overdue(pod, now + timedelta(seconds=2))
    error = why(pod, "train")
    assert isinstance(error, Transient)
    assert "was ended: its node was lost" in str(error)


def test_what_watched_the_pod_is_told_where_the_pod_says_nothing() -> None:
    assert "the triggerer lost it" in str(why(_pod("Running"), "train", "the triggerer lost it"))


_SOME = st.none() | st.text(max_size=20)


@given(reason=_SOME, message=_SOME, code=st.integers(0, 255), phase=st.sampled_from(["Failed", "Unknown"]))
def test_whatever_a_pod_says_there_is_an_answer(
    reason: str | None, message: str | None, code: int, phase: str
) -> None:
    pod = _ended(code, reason or "", message)
    pod.status.reason, pod.status.message, pod.status.phase = reason, message, phase
    assert isinstance(why(pod, "train"), LifecycleError)
