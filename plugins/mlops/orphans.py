"""Which pods, Jobs and Services of steps has nobody a use for?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlops.waiting_task import WaitingTask

_KEPT = timedelta(hours=1)
"""How long what has ended stays, for people to look at; logs are with the task."""
_SETTLING = timedelta(minutes=5)
"""How long a pod may take to end once its receipt is written."""
_ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")

States = Mapping[WaitingTask | None, str | None]
"""The state of each task that exists; None before it is scheduled, as after it was cleared."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A pod, a Job or a Service of a call, as it was seen."""

    kind: str
    name: str
    run_key: str
    """The call's, as far as a label has room for it."""
    created: datetime
    ended: datetime | None = None
    task: WaitingTask | None = None
    """Who waits for it, as it says itself."""
    is_owned: bool = False
    """Whether it goes with another one, as a Job's pods do."""
    is_going: bool = False
    """Whether somebody has deleted it already."""
    uid: str = ""
    resource_version: str = ""


@dataclass(frozen=True)
class Orphan:
    """What goes, and why."""

    workload: Workload
    why: str


def orphans(
    found: Iterable[Workload], done: Mapping[str, datetime | None], states: States, now: datetime
) -> list[Orphan]:
    """What nobody has a use for. A task that waits keeps its pod, unless that is the call's second or its
    receipt is there; one that does not say who waits for it ends by its own deadline.

    `done` has the calls of this store, each with the time of its receipt, if any: another store's pods in
    the same namespace are left alone. `states` must have been read after the cluster was.
    """
    ours = sorted(
        (item for item in found if item.run_key in done and not item.is_going),
        key=lambda item: (item.task is None, item.created, item.name),
    )
    first: dict[str, Workload] = {}
    gone: list[Orphan] = []
    for item in ours:
        if item.kind == "Service" or item.is_owned:
            continue
        why = _why_useless(item, done[item.run_key], states, now)
        if why is None and item.ended is None and first.setdefault(item.run_key, item) is not item:
            why = f"{first[item.run_key].name} runs the same call"
        if why is not None:
            gone.append(Orphan(item, why))
    return gone + _useless_services(ours, gone, now)


def _why_useless(item: Workload, receipt: datetime | None, states: States, now: datetime) -> str | None:
    waited_for = item.task in states and states[item.task] not in _ENDED
    if item.ended is not None:
        useless = item.ended < now - _KEPT and not waited_for
        return f"ended at {item.ended:%Y-%m-%d %H:%M} UTC" if useless else None
    if receipt is not None and receipt < now - _SETTLING:
        return f"its call has its receipt since {receipt:%Y-%m-%d %H:%M} UTC"
    if item.task is not None and not waited_for:
        became = f"is {states[item.task]}" if item.task in states else "is gone"
        return f"nobody waits for it: {item.task} {became}"
    return None


def _useless_services(ours: list[Workload], gone: list[Orphan], now: datetime) -> list[Orphan]:
    going = [orphan.workload for orphan in gone]
    served = {item.run_key for item in ours if item.kind != "Service" and item not in going}
    return [
        Orphan(item, "no pod and no Job of its call is left")
        for item in ours
        if item.kind == "Service"
        and not item.is_owned
        and item.run_key not in served
        and item.created < now - _SETTLING
    ]
