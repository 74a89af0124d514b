"""Is a Job over, does a pod of it wait for too long, and why is there no receipt?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from kubernetes.client import models as k8s

from include.lifecycle.errors import LifecycleError, Rejected, Transient
from mlops.pod_failure import is_overdue, why

_JOB = "batch.kubernetes.io/controller-uid"


def is_over(job: k8s.V1Job | None) -> bool:
    """Whether a Job has ended, well or not, or is gone or going."""
    return job is None or job.metadata.deletion_timestamp is not None or _ended(job) is not None


def pods_of(job: k8s.V1Job | None, found: Sequence[k8s.V1Pod]) -> list[k8s.V1Pod]:
    """Those of a Job's pods that are not of an earlier Job of that name; all where the Job is gone."""
    return [pod for pod in found if job is None or pod.metadata.labels[_JOB] == job.metadata.uid]


def waits_too_long(
    pods: Sequence[k8s.V1Pod], now: datetime, patience: timedelta, startup: timedelta
) -> k8s.V1Pod | None:
    """A pod that found no node in `patience`, has one and did not start in `startup`, or should be gone."""
    for pod in pods:
        if is_overdue(pod, now):
            return pod
        if pod.status.phase != "Pending":
            continue
        scheduled = [item for item in pod.status.conditions or () if item.type == "PodScheduled"]
        found = next((item.last_transition_time for item in scheduled if item.status == "True"), None)
        began, limit = (pod.metadata.creation_timestamp, patience) if found is None else (found, startup)
        if now - began > limit:
            return pod
    return None


def why_not(job: k8s.V1Job | None, pods: Sequence[k8s.V1Pod], step: str) -> LifecycleError:
    """The error of a Job that left no receipt: what a pod was refused for, or else what befell the newest.

    Rejected where another Job would end in the same way, Transient otherwise.
    """
    if job is None:
        return Transient(f"{step}: the Job is gone; another one goes on from the last checkpoint")
    ended = _ended(job)
    if ended is not None and ended.reason == "DeadlineExceeded":
        return Rejected(
            f"{step}: Job {job.metadata.name} ran longer than it may; raise compute.{step}.deadline, then "
            "clear this task: it goes on"
        )
    newest = sorted(pods, key=lambda pod: pod.metadata.creation_timestamp, reverse=True)
    errors = [why(pod, step) for pod in newest if _went_wrong(pod)]
    refusals = [error for error in errors if isinstance(error, Rejected)]
    if refusals:
        return refusals[0]
    said = ended.reason if ended is not None else "it has not ended"
    last = next((str(error) for error in errors if "another worker was lost" not in str(error)), "")
    return Transient(
        f"{step}: Job {job.metadata.name} left no receipt ({said}, {len(errors)} pods failed). {last}"
    )


def _went_wrong(pod: k8s.V1Pod) -> bool:
    return pod.status.phase in ("Failed", "Pending") or pod.metadata.deletion_timestamp is not None


def _ended(job: k8s.V1Job) -> k8s.V1JobCondition | None:
    for item in (job.status and job.status.conditions) or ():
        if item.type in ("Complete", "Failed") and item.status == "True":
            return item
    return None
