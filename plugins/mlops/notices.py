"""Is there something that a person should be told, and in which words? Pure; `mlops.notifying` sends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.lifecycle.spec.notify import News

if TYPE_CHECKING:
    from include.lifecycle.steps.releasing import Moved
    from include.lifecycle.store.ledger import Entry


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that a person should be told."""

    event: News
    about: str
    """The model or the dataset."""
    what: str
    """What happened, in one line."""
    why: str


def of_move(model: str, moved: Moved | None) -> Notice | None:
    """The notice of a version's move that was made just now; None but for an abort."""
    if moved is None or moved.event != "aborted":
        return None
    what = f"{model}: version {moved.version} was taken out of live requests"
    return Notice(event="aborted", about=model, what=what, why=moved.why)


def of_rollback(model: str, entry: Entry | None) -> Notice | None:
    """The notice of a rollback that was decided just now; None without one."""
    if entry is None:
        return None
    what = f"{model}: users got version {entry.data['to']} again instead of {entry.data['version']}"
    return Notice(event="rolled_back", about=model, what=what, why=entry.why)


def of_governing(model: str, entry: Entry | None) -> Notice | None:
    """The notice of what the governor wrote into the ledger just now; None unless it gave up."""
    if entry is None or entry.event != "circuit_opened":
        return None
    what = f"{model}: drift retrains it no more"
    return Notice(event="circuit_opened", about=model, what=what, why=entry.why)


def of_stop(dataset: str, partition: str, stop: str | None, *, known: bool) -> Notice | None:
    """The notice of a partition that its audit stopped; None where it did not, or the rows are known."""
    if stop is None or known:
        return None
    what = f"{dataset}: partition {partition} is not published"
    return Notice(event="partition_stopped", about=dataset, what=what, why=stop)


def text_of(notice: Notice, who: str, address: str) -> str:
    """The whole message, as plain text."""
    return f"{notice.what}\nwhy: {notice.why}\nby: {who}\nrun: {address}"
