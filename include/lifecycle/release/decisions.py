"""Decisions of training and release: each is taken on the fold and appended behind what it saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random_exponential

from include.lifecycle.errors import Conflict, InFlight, Rejected
from include.lifecycle.release.state import ModelState, Proposal, Training, fold
from include.lifecycle.spec.value import Value
from include.lifecycle.store.ledger import Entry, Ledger


@dataclass(frozen=True)
class Actor:
    """Who decides: a person or a DAG, in which run."""

    name: str
    run_id: str


class Draft(Value):
    """An entry that a decision wants to append."""

    event: str
    as_of: datetime
    why: str
    data: dict[str, Any] = {}


Decide = Callable[[ModelState], Draft | None]


_PATIENCE = 120.0
"""Seconds in which a writer comes through, also beside a hundred others."""


def record(ledger: Ledger, decide: Decide, actor: Actor) -> Entry | None:
    """Decide on the state as it is, and append; decide again when another writer came first.

    Returns the entry, or None when the decision was to append nothing.
    """
    entries: list[Entry] = []

    @retry(
        retry=retry_if_exception_type(Conflict),
        stop=stop_after_delay(_PATIENCE),
        wait=wait_random_exponential(multiplier=0.02, max=4),
        reraise=True,
    )
    def decide_and_append() -> Entry | None:
        entries[:] = ledger.entries(known=entries)
        if (draft := decide(fold(entries))) is None:
            return None
        return ledger.append(
            draft.event,
            after=entries,
            as_of=draft.as_of,
            why=draft.why,
            actor=actor.name,
            run_id=actor.run_id,
            **draft.data,
        )

    return decide_and_append()


def begin_training(
    training: Training, why: str, actor: Actor, *, lease: timedelta = timedelta(hours=2)
) -> Decide:
    """Take the lease of the one training in flight; raises InFlight while another run holds it.

    A run that holds it already, after a retry, goes on with it.
    """

    def decide(state: ModelState) -> Draft | None:
        now = datetime.now(UTC)
        held = state.in_flight(now)
        if held is not None and held.holder != actor.run_id:
            raise InFlight(
                f"training {held.run_key[:12]} of {held.holder} is in flight, until "
                f"{held.expires:%Y-%m-%d %H:%M} UTC at the latest"
            )
        if held is not None and held.run_key == training.run_key:
            return None
        data = training.model_dump(mode="json", include={"run_key", "fingerprint", "drift"})
        data["expires"] = (now + lease).isoformat()
        return Draft(event="training", as_of=training.as_of, why=why, data=data)

    return decide


def end_training(run_key: str, as_of: datetime, event: str, why: str) -> Decide:
    """Give the lease back with `failed` or `rejected`, once."""

    def decide(state: ModelState) -> Draft | None:
        begun = {item.run_key: item for item in state.trainings}.get(run_key)
        if begun is None or begun.outcome is not None:
            return None
        return Draft(event=event, as_of=as_of, why=why, data={"run_key": run_key})

    return decide


def propose(proposal: Proposal, why: str) -> Decide:
    """Ask for a version's release, once; one whose training had failed may ask when that was cured."""

    def decide(state: ModelState) -> Draft | None:
        known = {item.run_key: item.outcome for item in state.trainings}
        waiting = {item.version for item in state.undecided}
        if proposal.version in waiting or known.get(proposal.run_key) not in (None, "failed"):
            return None
        data = proposal.model_dump(mode="json", exclude={"as_of"})
        return Draft(event="proposed", as_of=proposal.as_of, why=why, data=data)

    return decide


def supersede_older(newest: Proposal) -> Decide:
    """Set aside one undecided proposal that is older than the newest one."""

    def decide(state: ModelState) -> Draft | None:
        for item in state.undecided:
            if item.version != newest.version:
                why = f"version {newest.version} of {newest.as_of:%Y-%m-%d} is newer"
                return Draft(event="superseded", as_of=item.as_of, why=why, data={"version": item.version})
        return None

    return decide


def newest_proposal(state: ModelState) -> Proposal | None:
    """The undecided proposal that knows most: newest `as_of`, then highest version."""
    return max(state.undecided, key=lambda item: (item.as_of, int(item.version)), default=None)


def stale(proposal: Proposal, champion: Proposal | None) -> str | None:
    """Why a proposal must not replace the champion by its age, or None when it may."""
    if champion is None or proposal.as_of > champion.as_of:
        return None
    return (
        f"as of {proposal.as_of:%Y-%m-%d} is not newer than the champion, version "
        f"{champion.version} as of {champion.as_of:%Y-%m-%d}"
    )


def settle(proposal: Proposal, *, promote: bool, why: str) -> Decide:
    """Promote or reject a proposal that is still undecided.

    A champion that changed meanwhile to a newer one turns promotion into rejection.
    """

    def decide(state: ModelState) -> Draft | None:
        if proposal.version not in {item.version for item in state.undecided}:
            return None
        reason = stale(proposal, state.champion) if promote else None
        return Draft(
            event="promoted" if promote and reason is None else "rejected",
            as_of=proposal.as_of,
            why=reason or why,
            data={"version": proposal.version},
        )

    return decide


def roll_back(to: str | None, why: str, actor: Actor, asked_at: datetime) -> Decide:
    """Give users a version again that they had: the one named, or the one before the champion.

    A run that did it already, and is retried, does nothing. Raises Rejected when there is no such
    version, and when none is named and the champion changed after `asked_at` (wall clock): of two
    who ask at once, the second does not take the version away that the first went back to.
    """

    def decide(state: ModelState) -> Draft | None:
        if actor.run_id in state.rolled_back.values():
            return None
        champion, had = state.champion, {item.version: item for item in state.champions}
        if champion is None:
            raise Rejected("no version is champion yet: there is nothing to roll back")
        if to is None and state.champion_since is not None and state.champion_since > asked_at:
            raise Rejected(
                f"version {champion.version} became champion after this was asked for: look again, and "
                "name the version to go back to"
            )
        target = state.previous if to is None else had.get(to)
        if target is None:
            others = ", ".join(sorted(had.keys() - {champion.version}, key=int)) or "none"
            asked = "no version to go back to is left" if to is None else f"version {to} was never champion"
            raise Rejected(f"{asked}; champions before version {champion.version}: {others}")
        if target == champion:
            raise Rejected(f"version {champion.version} is champion already")
        data = {"version": champion.version, "to": target.version}
        return Draft(event="rolled_back", as_of=champion.as_of, why=why, data=data)

    return decide
