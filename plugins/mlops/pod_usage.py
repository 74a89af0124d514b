"""What did a pod use? What it was promised, as clusters are paid for, times the time that it ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from kubernetes.client import models as k8s
from kubernetes.utils.quantity import parse_quantity

from include.lifecycle.store.usage import Attempt, Usage
from mlops.pod_failure import states_of
from mlops.pod_spec import GPU

_GIB = 1 << 30


def attempt_of(pod: k8s.V1Pod, now: datetime) -> Attempt | None:
    """A pod as an attempt, until its container ended, or else until `now`; None when it never began."""
    span = _span(pod, now)
    if span is None:
        return None
    promised = [item.resources.requests or {} for item in pod.spec.containers if item.resources]
    return Attempt(id=pod.metadata.uid, where=f"pod {pod.metadata.name}", usage=_usage(*span, promised))


def attempt_of_gone(
    events: Iterable[k8s.CoreV1Event], promised: Mapping[str, str], now: datetime
) -> Attempt | None:
    """A pod that was taken away with its status, by the event that says when its container began."""
    for event in events:
        if event.reason == "Started":
            pod = event.involved_object
            usage = _usage(event.first_timestamp or event.event_time, now, [promised])
            return Attempt(id=pod.uid, where=f"pod {pod.name}", usage=usage)
    return None


def _usage(began: datetime, ended: datetime, promised: Iterable[Mapping[str, str]]) -> Usage:
    seconds = max(0.0, (ended - began).total_seconds())

    def over_time(resource: str) -> float:
        return round(seconds * sum(float(parse_quantity(item.get(resource, 0))) for item in promised), 3)

    return Usage(
        seconds=round(seconds, 3),
        cpu_seconds=over_time("cpu"),
        memory_gib_seconds=round(over_time("memory") / _GIB, 3),
        gpu_seconds=over_time(GPU),
    )


def _span(pod: k8s.V1Pod, now: datetime) -> tuple[datetime, datetime] | None:
    accepted = pod.status.start_time
    for state in states_of(pod):
        if state.running is not None:
            return state.running.started_at, now
        if state.terminated is not None and state.terminated.started_at is not None:
            # Of a container that could not be started Kubernetes says that it began in 1970.
            return max(state.terminated.started_at, accepted), state.terminated.finished_at or now
    # A node that evicts a pod may forget its containers: then what the pod itself says must do.
    if pod.status.phase in ("Succeeded", "Failed") and accepted is not None:
        changes = [item.last_transition_time for item in pod.status.conditions or ()]
        return accepted, max(filter(None, changes), default=now)
    return None
