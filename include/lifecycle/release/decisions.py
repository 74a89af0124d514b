"""Decisions are taken on the fold and appended behind what they saw; here those of trainings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random_exponential

from include.lifecycle.errors import Conflict, InFlight
from include.lifecycle.release.fold import fold
from include.lifecycle.release.state import ModelState, Proposal, Training
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


def record(ledger: Ledger, decide: Decide, actor: Actor, known: Sequence[Entry] = ()) -> Entry | None:
    """Decide on the state as it is, and append; decide again when another writer came first.

    Entries that are `known` already are not read again. Returns the entry, or None when the decision was
    to append nothing.
    """
    entries = list(known)

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
