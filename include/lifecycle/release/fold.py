"""What follows from the entries of a ledger: a pure fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from include.lifecycle.release.costs import USED, Totals
from include.lifecycle.release.state import (
    IN_TRAFFIC,
    MOVES,
    Lease,
    ModelState,
    Proposal,
    Searched,
    Standing,
    Training,
    WindowVerdict,
)
from include.lifecycle.store.ledger import Entry


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
    return {
        "undecided": (*others, proposal),
        "standings": {**state.standings, proposal.version: Standing(since=entry.at)},
        "lease": _released(state, proposal.run_key),
    }


def _moved(state: ModelState, entry: Entry) -> dict[str, Any]:
    """A stage further; only one version at a time is compared on live requests."""
    proposal = _who_may(state, entry)
    if entry.event in IN_TRAFFIC and state.candidate not in (None, proposal):
        return {}
    about = {key: value for key, value in entry.data.items() if key in Standing.model_fields}
    standing = Standing(**{**about, "stage": entry.event, "since": entry.at})
    return {"standings": {**state.standings, proposal.version: standing}}


def _consented(state: ModelState, entry: Entry) -> dict[str, Any]:
    """One more person agrees; the version stays where it is."""
    version, standing = entry.data["version"], state.standings[entry.data["version"]]
    if standing.stage != "staged":
        return {}
    told = {**standing.model_dump(), "consents": {**standing.consents, entry.data["user"]: entry.actor}}
    return {"standings": {**state.standings, version: Standing.model_validate(told)}}


def _promoted(state: ModelState, entry: Entry) -> dict[str, Any]:
    proposal = _who_may(state, entry)
    return {
        "champions": (*state.champions, proposal),
        "champion_since": entry.at,
        **_decided(state, entry, proposal),
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


def _set_aside(state: ModelState, entry: Entry) -> dict[str, Any]:
    if "version" not in entry.data:
        return _ended(state, entry.data["run_key"], "rejected")
    return _decided(state, entry, _who_may(state, entry))


def _window(state: ModelState, entry: Entry) -> dict[str, Any]:
    verdict = WindowVerdict(end=entry.as_of, bad=entry.data["bad"], why=entry.why)
    others = [window for window in state.windows if window.end != verdict.end]
    return {"windows": tuple(sorted([*others, verdict], key=lambda window: window.end))}


def _retrain(state: ModelState, entry: Entry) -> dict[str, Any]:
    return {"retrain": entry.why}


def _circuit_opened(state: ModelState, entry: Entry) -> dict[str, Any]:
    return {"circuit_opened_after": str(entry.data["training"])}


def _used(state: ModelState, entry: Entry) -> dict[str, Any]:
    month = f"{entry.at:%Y-%m}"
    return {"usage": {**state.usage, month: state.usage.get(month, Totals()).plus(entry.data)}}


def _searched(state: ModelState, entry: Entry) -> dict[str, Any]:
    data = {name: entry.data[name] for name in ("search", "trial", "space", "parameters")}
    found = Searched(as_of=entry.as_of, **data)
    others = tuple(item for item in state.searched if item.search != found.search)
    return {"searched": (*others, found)}


def _who_may(state: ModelState, entry: Entry) -> Proposal:
    """The undecided version that makes this move; raises KeyError where it may not."""
    version = entry.data["version"]
    if entry.event not in MOVES[state.standings[version].stage]:
        raise KeyError(entry.event)
    return {item.version: item for item in state.undecided}[version]


def _decided(state: ModelState, entry: Entry, proposal: Proposal) -> dict[str, Any]:
    others = {version: it for version, it in state.standings.items() if version != proposal.version}
    return {
        "undecided": tuple(item for item in state.undecided if item.version in others),
        "standings": others,
        **_ended(state, proposal.run_key, entry.event),
    }


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


_TRANSITIONS: dict[str, Callable[[ModelState, Entry], dict[str, Any]]] = {
    "training": _training,
    "failed": _failed,
    "proposed": _proposed,
    "staged": _moved,
    "consented": _consented,
    "approved": _moved,
    "shadow": _moved,
    "canary": _moved,
    "promoted": _promoted,
    "rejected": _set_aside,
    "superseded": _set_aside,
    "aborted": _set_aside,
    "rolled_back": _rolled_back,
    "window": _window,
    "retrain": _retrain,
    "circuit_opened": _circuit_opened,
    USED: _used,
    "searched": _searched,
}
