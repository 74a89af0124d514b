"""Why did a pod end without a receipt, and does another one help?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from kubernetes.client import models as k8s

from include.lifecycle.errors import LifecycleError, Rejected, Transient
from mlops.pod_spec import CONTAINER

_OVERDUE = timedelta(seconds=30)
"""How much longer than its grace period a pod may take to end."""
_GONE = "its node was lost, drained, or needed for something more important"
_ERROR = re.compile(r"^(Transient|Rejected): ", re.MULTILINE)
_NO_COMMAND = 'container process: exec: "'
"""How runc begins to say that the image has no such command; nodes miss files of their own, too."""
_UNREACHABLE = (
    "timeout",
    "too many requests",
    "rate limit",
    "unavailable",
    "bad gateway",
    "connection refused",
)


def why(pod: k8s.V1Pod | None, step: str, said: str = "") -> LifecycleError:
    """The error of a pod as it was seen last; None when it is gone. `said` is what watched it.

    Rejected where another pod would end in the same way, Transient otherwise.
    """
    if pod is None:
        return Transient(f"{step}: the pod is gone: {_GONE}; another one goes on from the last checkpoint")
    name = f"{step}: pod {pod.metadata.name}"
    needs = f"compute.{step}"
    if found := _of_whole_pod(pod, needs) or _of_waiting(pod) or _of_ended(pod, needs):
        kind, text = found
        return kind(f"{name} {text}")
    if pod.metadata.deletion_timestamp is not None:
        return Transient(f"{name} was ended: {_GONE}; another one goes on from the last checkpoint")
    if waiting := _waits_for_node(pod):
        return Transient(f"{name} found no node in time ({waiting}); raise {needs}.patience")
    return Transient(f"{name} did not do its work ({said or pod.status.phase})")


def is_overdue(pod: k8s.V1Pod, now: datetime) -> bool:
    """Whether a pod should be gone, and is not: its node does not answer."""
    to_be_gone = pod.metadata.deletion_timestamp
    return to_be_gone is not None and now > to_be_gone + _OVERDUE


_Found = tuple[type[LifecycleError], str] | None


def _of_whole_pod(pod: k8s.V1Pod, needs: str) -> _Found:
    reason, message = pod.status.reason or "", pod.status.message or ""
    if reason == "DeadlineExceeded":
        return Rejected, f"ran longer than it may; raise {needs}.deadline, then clear this task: it goes on"
    if reason == "Evicted" and "exceed" in message and "limit" in message:
        return Rejected, f"was evicted: {message.strip()}; a step's files have less room than it needs"
    if reason in ("Evicted", "Preempting", "NodeLost", "NodeShutdown", "Terminated", "Shutdown"):
        return Transient, f"was ended by its node ({reason}: {message.strip()}): another one goes on"
    for item in pod.status.conditions or ():
        if item.type == "DisruptionTarget" and item.status == "True":
            return Transient, f"was ended: {_GONE} ({item.reason}: {item.message}); another one goes on"
    return None


def _of_waiting(pod: k8s.V1Pod) -> _Found:
    for state in states_of(pod):
        if state.waiting is None or state.waiting.reason in (None, "ContainerCreating", "PodInitializing"):
            continue
        reason, message = state.waiting.reason, (state.waiting.message or "").strip()
        if "Image" in reason:
            passing = any(sign in message.lower() for sign in _UNREACHABLE)
            text = f"cannot pull its image ({reason}: {message}); mend kubernetes.images in the profile"
            return (Transient if passing else Rejected), f"{text}, or push the image"
        if reason == "CreateContainerConfigError":
            return Rejected, f"cannot start ({message}); create the Secret as docker/README.md says"
        return _of_runtime(reason, message)
    return None


def _of_runtime(reason: str, message: str) -> _Found:
    """Nothing but a wrong command fails on every node; anything else is a node's trouble."""
    kind = Rejected if _NO_COMMAND in message else Transient
    return kind, f"cannot start ({reason}: {message})"


def _of_ended(pod: k8s.V1Pod, needs: str) -> _Found:
    for state in states_of(pod):
        if state.terminated is None:
            continue
        reason, code = state.terminated.reason or "", state.terminated.exit_code
        message = _last_words(state.terminated.message)
        if reason == "OOMKilled":
            return Rejected, f"took more memory than it may; raise {needs}.memory, then clear this task"
        if code == 0:
            return Transient, "says that it succeeded, and there is no receipt: nothing was done"
        if code == Rejected.exit_code:
            return Rejected, f"refuses: {message}"
        if code == Transient.exit_code:
            return Transient, f"could not go on: {message}"
        if reason in ("Unknown", "ContainerStatusUnknown"):
            return Transient, f"ended while nobody saw it ({reason}): {_GONE}; another one goes on"
        if reason in ("StartError", "ContainerCannotRun"):
            return _of_runtime(reason, message)
        if code in (137, 143):
            return Transient, f"was killed (exit code {code}): another one goes on from the last checkpoint"
        return Rejected, f"failed with exit code {code}, {reason}: {message}"
    return None


def _waits_for_node(pod: k8s.V1Pod) -> str:
    """What the scheduler says, such as `Unschedulable: 0/2 nodes are available: 2 Insufficient …`."""
    for item in pod.status.conditions or ():
        if item.type == "PodScheduled" and item.status == "False":
            return f"{item.reason}: {item.message}"
    return ""


def _last_words(message: str | None) -> str:
    """The error that the step ended with, of the lines of its log that the pod kept."""
    text = (message or "it said nothing").strip()
    begins = [found.start() for found in _ERROR.finditer(text)]
    return text[begins[-1] :] if begins else text.splitlines()[-1]


def states_of(pod: k8s.V1Pod) -> Iterator[k8s.V1ContainerState]:
    """The state of the step's container, as far as the pod tells it."""
    for status in pod.status.container_statuses or ():
        if status.name == CONTAINER and status.state is not None:
            yield status.state
