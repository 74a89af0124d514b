"""Takes a version from rung to rung of live requests, or out of them."""

from __future__ import annotations

from datetime import datetime

from include.lifecycle.release.decisions import Actor, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.ladder import Rung, next_rung, rung_of
from include.lifecycle.release.moves import move
from include.lifecycle.release.reconcile import publish
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.quantities import format_duration
from include.lifecycle.steps.releasing import Moved, moved
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store


def climb(
    model: ModelSpec, version: str, store: Store, actor: Actor, *, further: bool = False
) -> tuple[Rung, datetime] | None:
    """The rung that a version is on, or the next one when it is `further`; and since when (wall clock).

    Servers are told before it returns. None when there is nothing to climb: the policy asks for no shadow
    and no canary, there is no champion to compare it with, it stands at the top, or it was decided on.
    """
    ledger = Ledger(store, model.name)
    state = fold(ledger.entries())
    standing = state.standings.get(version)
    if standing is None or state.champion is None:
        return None
    rung, since = None if further else rung_of(model.release, standing), standing.since
    if rung is None and (rung := next_rung(model.release, standing)) is not None:
        why = f"for {format_duration(rung.duration)} at least, and {rung.enough} to look at"
        entry = record(ledger, move(version, rung.stage, why, **rung.data(model.release)), actor)
        since = entry.at if entry else since
    publish(model.name, store)
    return (rung, since) if rung else None


def abort(model: str, version: str, why: str, store: Store, actor: Actor) -> Moved | None:
    """Take a version out of live requests, at once."""
    entry = record(Ledger(store, model), move(version, "aborted", why), actor)
    publish(model, store)
    return moved(version, entry)
