"""What the ledger says now: champion, undecided proposals, trainings, windows. A pure fold."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydantic import Field, ValidationError

from include.lifecycle.release.costs import USED, Totals
from include.lifecycle.spec.quantities import Instant
from include.lifecycle.spec.search import Parameters
from include.lifecycle.spec.value import Value
from include.lifecycle.store.ledger import Entry


class Proposal(Value):
    """A registered version that asks to be released."""

    version: str = Field(pattern=r"^\d+$")
    run_key: str
    """Run key of its training."""
    as_of: Instant
    evaluation: str
    """Run key of its evaluation."""
    metrics: dict[str, float] = {}
    """What it showed on the gate rows."""


class Lease(Value):
    """The one training in flight; it ends with its outcome or, if its task died, by expiry."""

    run_key: str
    holder: str
    """The run that holds it."""
    expires: Instant


class Training(Value):
    """A training that was begun, and what came of it."""

    run_key: str
    as_of: Instant
    fingerprint: str
    """Hash of the spec, features and code that it used."""
    drift: bool
    """Whether drift asked for it."""
    outcome: str | None = None
    """`promoted`, `rejected`, `failed`, `superseded` or `rolled_back`; None while undecided."""


class WindowVerdict(Value):
    """One monitoring period, judged."""

    end: Instant
    bad: bool
    why: str


class Searched(Value):
    """What a search for parameters found."""

    search: str
    """The search's key."""
    trial: str
    """Run key of the trial that won."""
    as_of: Instant
    space: str
    """Hash of the space that was searched."""
    parameters: Parameters


class ModelState(Value):
    """Everything that follows from a model's ledger."""

    seq: int = -1
    hash: str = ""
    champions: tuple[Proposal, ...] = ()
    """Each version that users were given, as one followed the other; the last is champion now."""
    champion_since: Instant | None = None
    """Wall clock of the decision that made the champion."""
    rolled_back: dict[str, str] = {}
    """Versions that were taken from users again, and the run that did it."""
    undecided: tuple[Proposal, ...] = ()
    lease: Lease | None = None
    trainings: tuple[Training, ...] = ()
    windows: tuple[WindowVerdict, ...] = ()
    """In order of business time, one for each end."""
    searched: tuple[Searched, ...] = ()
    """In the order in which they ended, one for each search."""
    retrain: str | None = None
    """Why a retraining was asked for that has not begun yet."""
    usage: dict[str, Totals] = {}
    """By month, such as `2026-11`: of the wall clock in UTC, when the attempts were recorded."""

    @property
    def champion(self) -> Proposal | None:
        """The version that answers users."""
        return self.champions[-1] if self.champions else None

    @property
    def previous(self) -> Proposal | None:
        """The version to go back to: the newest that was champion before, and was not rolled back."""
        for item in reversed(self.champions):
            if item.version != self.champions[-1].version and item.version not in self.rolled_back:
                return item
        return None

    def in_flight(self, now: datetime) -> Lease | None:
        """The lease of the training in flight, unless it expired."""
        return self.lease if self.lease and self.lease.expires > now else None


def fold(entries: Iterable[Entry]) -> ModelState:
    """The state after some entries. Total: an entry it cannot use changes nothing but the head."""
    state = ModelState()
    for entry in entries:
        step = _TRANSITIONS.get(entry.event)
        changes: dict[str, Any] = {}
        if step is not None:
            try:
                changes = step(state, entry)
            except (KeyError, TypeError, ValidationError):
                changes = {}
        state = state.model_copy(update={"seq": entry.seq, "hash": entry.hash, **changes})
    return state


def _training(state: ModelState, entry: Entry) -> dict[str, Any]:
    data = entry.data
    training = Training(
        run_key=data["run_key"],
        as_of=entry.as_of,
        fingerprint=data["fingerprint"],
        drift=data["drift"],
    )
    others = tuple(item for item in state.trainings if item.run_key != training.run_key)
    return {
        "lease": Lease(run_key=data["run_key"], holder=entry.run_id, expires=data["expires"]),
        "trainings": (*others, training),
        "retrain": None if training.drift else state.retrain,
    }


def _failed(state: ModelState, entry: Entry) -> dict[str, Any]:
    return _ended(state, entry.data["run_key"], "failed")


def _proposed(state: ModelState, entry: Entry) -> dict[str, Any]:
    proposal = Proposal(as_of=entry.as_of, **entry.data)
    others = tuple(item for item in state.undecided if item.version != proposal.version)
    return {"undecided": (*others, proposal), "lease": _released(state, proposal.run_key)}


def _promoted(state: ModelState, entry: Entry) -> dict[str, Any]:
    proposal = _undecided(state, entry)
    return {
        "champions": (*state.champions, proposal),
        "champion_since": entry.at,
        "undecided": _without(state, proposal.version),
        **_ended(state, proposal.run_key, "promoted"),
    }


def _rolled_back(state: ModelState, entry: Entry) -> dict[str, Any]:
    had = {item.version: item for item in state.champions}
    left, again = had[entry.data["version"]], had[entry.data["to"]]
    if left != state.champion or again == left:
        return {}
    others = {version: run for version, run in state.rolled_back.items() if version != again.version}
    return {
        "champions": (*state.champions, again),
        "champion_since": entry.at,
        "rolled_back": {**others, left.version: entry.run_id},
        **_ended(state, left.run_key, entry.event),
    }


def _rejected(state: ModelState, entry: Entry) -> dict[str, Any]:
    if "version" not in entry.data:
        return _ended(state, entry.data["run_key"], "rejected")
    proposal = _undecided(state, entry)
    return {
        "undecided": _without(state, proposal.version),
        **_ended(state, proposal.run_key, entry.event),
    }


def _window(state: ModelState, entry: Entry) -> dict[str, Any]:
    verdict = WindowVerdict(end=entry.as_of, bad=entry.data["bad"], why=entry.why)
    others = [window for window in state.windows if window.end != verdict.end]
    return {"windows": tuple(sorted([*others, verdict], key=lambda window: window.end))}


def _retrain(state: ModelState, entry: Entry) -> dict[str, Any]:
    return {"retrain": entry.why}


def _used(state: ModelState, entry: Entry) -> dict[str, Any]:
    month = f"{entry.at:%Y-%m}"
    return {"usage": {**state.usage, month: state.usage.get(month, Totals()).plus(entry.data)}}


def _searched(state: ModelState, entry: Entry) -> dict[str, Any]:
    data = {name: entry.data[name] for name in ("search", "trial", "space", "parameters")}
    found = Searched(as_of=entry.as_of, **data)
    others = tuple(item for item in state.searched if item.search != found.search)
    return {"searched": (*others, found)}


def _undecided(state: ModelState, entry: Entry) -> Proposal:
    found = {item.version: item for item in state.undecided}
    return found[entry.data["version"]]


def _without(state: ModelState, version: str) -> tuple[Proposal, ...]:
    return tuple(item for item in state.undecided if item.version != version)


def _released(state: ModelState, run_key: str) -> Lease | None:
    return None if state.lease and state.lease.run_key == run_key else state.lease


def _ended(state: ModelState, run_key: str, outcome: str) -> dict[str, Any]:
    return {
        "lease": _released(state, run_key),
        "trainings": tuple(
            item.model_copy(update={"outcome": outcome}) if item.run_key == run_key else item
            for item in state.trainings
        ),
    }


_TRANSITIONS = {
    "training": _training,
    "failed": _failed,
    "proposed": _proposed,
    "promoted": _promoted,
    "rejected": _rejected,
    "superseded": _rejected,
    "rolled_back": _rolled_back,
    "window": _window,
    "retrain": _retrain,
    USED: _used,
    "searched": _searched,
}
