from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.client import models as k8s
from mlops.job_state import is_over, pods_of, waits_too_long, why_not
from mlops.pod_spec import CONTAINER

from include.lifecycle.errors import Rejected, Transient

NOW = datetime(2024, 1, 1, 12, tzinfo=UTC)


def _job(*conditions: tuple[str, str], going: bool = False) -> k8s.V1Job:
    found = [k8s.V1JobCondition(type=kind, status="True", reason=reason) for kind, reason in conditions]
    gone = NOW if going else None
    return k8s.V1Job(
        metadata=k8s.V1ObjectMeta(name="late-train-x", deletion_timestamp=gone),
        status=k8s.V1JobStatus(conditions=found),
    )


def _ended(code: int, message: str, minute: int = 0) -> k8s.V1Pod:
    state = k8s.V1ContainerState(
        terminated=k8s.V1ContainerStateTerminated(exit_code=code, reason="Error", message=message)
    )
    return _pod("Failed", minute, container_statuses=[_status(state)])


def _pod(phase: str, minute: int = 0, **status: Any) -> k8s.V1Pod:
    made = NOW - timedelta(hours=1) + timedelta(minutes=minute)
    return k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name=f"late-train-x-{minute}", creation_timestamp=made),
        status=k8s.V1PodStatus(phase=phase, **status),
    )


def _status(state: k8s.V1ContainerState) -> k8s.V1ContainerStatus:
    return k8s.V1ContainerStatus(
        name=CONTAINER, image="i", image_id="i", ready=False, restart_count=0, state=state
    )


def _scheduled(minutes_ago: int) -> list[k8s.V1PodCondition]:
    when = NOW - timedelta(minutes=minutes_ago)
    return [k8s.V1PodCondition(type="PodScheduled", status="True", last_transition_time=when)]


@pytest.mark.parametrize(
    ("job", "over"),
    [
        (_job(), False),
        (_job(("Suspended", "")), False),
        (_job(("FailureTarget", "BackoffLimitExceeded")), False),
        (_job(("Complete", "CompletionsReached")), True),
        (_job(("Failed", "BackoffLimitExceeded")), True),
        (_job(going=True), True),
        (None, True),
    ],
)
def test_a_job_is_over_when_it_has_ended_or_is_gone(job: k8s.V1Job | None, over: bool) -> None:
    assert is_over(job) is over


@pytest.mark.parametrize(
    ("pod", "patience", "startup", "too_long"),
    [
        (_pod("Pending"), 59, 1, True),
        (_pod("Pending"), 61, 1, False),
        (_pod("Pending", conditions=_scheduled(10)), 1, 9, True),
        (_pod("Pending", conditions=_scheduled(10)), 1, 11, False),
        (_pod("Running", conditions=_scheduled(59)), 1, 1, False),
    ],
)
def test_a_pod_may_wait_so_long_for_a_node_and_so_long_to_start(
    pod: k8s.V1Pod, patience: int, startup: int, too_long: bool
) -> None:
    limits = timedelta(minutes=patience), timedelta(minutes=startup)
    assert waits_too_long([_pod("Running"), pod], NOW, *limits) is (pod if too_long else None)


def test_a_pod_that_its_node_does_not_end_is_not_waited_for() -> None:
    limits = timedelta(hours=9), timedelta(hours=9)
    for seconds, too_long in ((29, False), (31, True)):
        pod = _pod("Running")
        pod.metadata.deletion_timestamp = NOW - timedelta(seconds=seconds)
        assert waits_too_long([pod], NOW, *limits) is (pod if too_long else None)
    error = why_not(_job(), [pod], "train")
    assert isinstance(error, Transient)
    assert "its node was lost" in str(error)


def test_pods_of_an_earlier_job_of_the_name_are_not_its_own() -> None:
    job, pods = _job(), [_pod("Running", minute) for minute in (1, 2)]
    job.metadata.uid = "2"
    for pod in pods:
        pod.metadata.labels = {"batch.kubernetes.io/controller-uid": pod.metadata.name[-1]}
    assert pods_of(job, pods) == pods[1:]
    assert pods_of(None, pods) == pods


def test_what_a_pod_was_refused_for_is_why() -> None:
    pods = [_ended(75, "Transient: store is away", 9), _ended(1, "Rejected: no rows"), _pod("Running", 20)]
    error = why_not(_job(("Failed", "PodFailurePolicy")), pods, "train")
    assert isinstance(error, Rejected)
    assert "late-train-x-0 refuses: Rejected: no rows" in str(error)


def test_a_worker_that_was_lost_is_why_and_not_those_that_missed_it() -> None:
    missed = _ended(75, "Transient: training: another worker was lost (EOF); all go on together", 9)
    error = why_not(
        _job(("Failed", "BackoffLimitExceeded")), [missed, _ended(137, "", 5), _ended(75, "")], "train"
    )
    assert isinstance(error, Transient)
    assert "left no receipt (BackoffLimitExceeded, 3 pods failed)" in str(error)
    assert "late-train-x-5 was killed (exit code 137)" in str(error)


def test_a_deadline_can_be_raised_and_a_job_that_is_gone_can_be_made_again() -> None:
    late = why_not(_job(("Failed", "DeadlineExceeded")), [], "train")
    assert isinstance(late, Rejected)
    assert "raise compute.train.deadline" in str(late)
    assert isinstance(why_not(None, [], "train"), Transient)


def test_a_job_that_ended_well_without_a_receipt_did_nothing() -> None:
    error = why_not(_job(("Complete", "CompletionsReached")), [_pod("Succeeded")], "train")
    assert isinstance(error, Transient)
    assert "left no receipt (CompletionsReached" in str(error)
