from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.client import models as k8s
from mlops.pod_spec import CONTAINER
from mlops.pod_usage import attempt_of, attempt_of_gone

from include.lifecycle.store.usage import Attempt, Usage

BEGAN = datetime(2026, 11, 21, 12, tzinfo=UTC)
ENDED, NOW = BEGAN + timedelta(minutes=10), BEGAN + timedelta(hours=1)
PROMISED = {"cpu": "500m", "memory": "2Gi", "nvidia.com/gpu": "2"}
TEN_MINUTES = Usage(seconds=600, cpu_seconds=300, memory_gib_seconds=1200, gpu_seconds=1200)
AN_HOUR = Usage(seconds=3600, cpu_seconds=1800, memory_gib_seconds=7200, gpu_seconds=7200)


def _pod(phase: str, requests: dict[str, str] | None = PROMISED, **status: Any) -> k8s.V1Pod:
    resources = k8s.V1ResourceRequirements(requests=requests)
    return k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name="late-train-x", uid="8c1f"),
        spec=k8s.V1PodSpec(containers=[k8s.V1Container(name=CONTAINER, resources=resources)]),
        status=k8s.V1PodStatus(phase=phase, **status),
    )


def _in_state(phase: str, requests: dict[str, str] | None = PROMISED, **state: Any) -> k8s.V1Pod:
    status = k8s.V1ContainerStatus(
        name=CONTAINER,
        image="i",
        image_id="i",
        ready=False,
        restart_count=0,
        state=k8s.V1ContainerState(**state),
    )
    return _pod(phase, requests, container_statuses=[status], start_time=BEGAN - timedelta(minutes=5))


def _terminated(code: int, reason: str) -> k8s.V1ContainerStateTerminated:
    return k8s.V1ContainerStateTerminated(exit_code=code, reason=reason, started_at=BEGAN, finished_at=ENDED)


def _changed(kind: str, at: datetime) -> k8s.V1PodCondition:
    return k8s.V1PodCondition(type=kind, status="False", last_transition_time=at)


NOT_STARTED = k8s.V1ContainerStateTerminated(
    exit_code=128,
    reason="StartError",
    started_at=datetime(1970, 1, 1, tzinfo=UTC),
    finished_at=ENDED - timedelta(minutes=5),
)
UNKNOWN = k8s.V1ContainerStateTerminated(exit_code=137, reason="ContainerStatusUnknown")
CHANGES = [_changed("PodScheduled", BEGAN), _changed("Ready", ENDED)]
FORGOTTEN = _in_state("Failed", terminated=UNKNOWN)
FORGOTTEN.status.start_time, FORGOTTEN.status.conditions = BEGAN, CHANGES


@pytest.mark.parametrize(
    ("pod", "usage"),
    [
        (_in_state("Succeeded", terminated=_terminated(0, "Completed")), TEN_MINUTES),
        (_in_state("Failed", terminated=_terminated(137, "OOMKilled")), TEN_MINUTES),
        (_in_state("Running", running=k8s.V1ContainerStateRunning(started_at=BEGAN)), AN_HOUR),
        (_pod("Failed", reason="Evicted", start_time=BEGAN, conditions=CHANGES), TEN_MINUTES),
        (_in_state("Failed", terminated=NOT_STARTED), TEN_MINUTES),
        (FORGOTTEN, TEN_MINUTES),
        (_pod("Failed", reason="NodeLost", start_time=BEGAN), AN_HOUR),
    ],
)
def test_a_pod_used_what_it_was_promised_while_its_container_ran(pod: k8s.V1Pod, usage: Usage) -> None:
    assert attempt_of(pod, NOW) == Attempt(id="8c1f", where="pod late-train-x", usage=usage)


@pytest.mark.parametrize(
    "pod",
    [
        _pod("Pending"),
        _pod("Pending", start_time=BEGAN),
        _in_state("Pending", waiting=k8s.V1ContainerStateWaiting(reason="ImagePullBackOff")),
        _pod("Failed", reason="UnexpectedAdmissionError"),
    ],
)
def test_a_pod_that_never_began_is_no_attempt(pod: k8s.V1Pod) -> None:
    assert attempt_of(pod, NOW) is None


def test_a_pod_without_promises_used_time_alone() -> None:
    found = attempt_of(_in_state("Succeeded", None, terminated=_terminated(0, "Completed")), NOW)
    assert found is not None
    assert found.usage == Usage(seconds=600)


def _event(reason: str, **when: datetime) -> k8s.CoreV1Event:
    pod = k8s.V1ObjectReference(kind="Pod", name="late-train-x", uid="8c1f")
    return k8s.CoreV1Event(metadata=k8s.V1ObjectMeta(name="e"), involved_object=pod, reason=reason, **when)


@pytest.mark.parametrize("when", [{"first_timestamp": BEGAN}, {"event_time": BEGAN}])
def test_a_pod_that_is_gone_is_told_by_the_event_of_its_start(when: dict[str, datetime]) -> None:
    events = [_event("Scheduled", first_timestamp=BEGAN - timedelta(hours=1)), _event("Started", **when)]
    assert attempt_of_gone(events, PROMISED, NOW) == Attempt(
        id="8c1f", where="pod late-train-x", usage=AN_HOUR
    )
    assert attempt_of_gone(events[:1], PROMISED, NOW) is None
