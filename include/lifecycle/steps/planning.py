"""Plans a training: as of when, on which data, whether at all, and who else is at it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from include.lifecycle.data.point_in_time import watermark
from include.lifecycle.errors import Rejected
from include.lifecycle.monitor.governor import as_of as business_time
from include.lifecycle.monitor.governor import decide_on_schedule
from include.lifecycle.release.decisions import Actor, begin_training, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.state import ModelState, Training
from include.lifecycle.release.winner import winner_for, with_parameters
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.steps import train
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import find_receipt, write_call


@dataclass(frozen=True)
class PlannedTraining:
    """What was decided; `run_key` is None when there is nothing to train."""

    run_key: str | None
    as_of: datetime
    why: str


def plan_training(
    model_name: str, catalog: Catalog, store: Store, *, slot: datetime, asked_for: bool, actor: Actor
) -> PlannedTraining:
    """Decide, record the call, and take the lease.

    Raises InFlight while another run's training is in flight, and Rejected without published rows.
    """
    model = catalog.model(model_name)
    reach = watermark(catalog.dataset(model.rows), store)
    if reach is None and not asked_for:
        return PlannedTraining(None, slot, f"{model.rows} has no published partition yet")
    if reach is None:
        raise Rejected(f"{model.rows} has no published partition; run {model.rows}.ingest first")
    as_of = business_time(slot, reach)
    ledger = Ledger(store, model_name)
    state = fold(ledger.entries())
    winner = winner_for(model, state.searched, as_of)
    searched = winner.search if winner else None
    call = train.plan(with_parameters(model, winner), catalog, as_of, store, searched)
    fingerprint = train.fingerprint(call)

    if _is_done(state, call.run_key) and find_receipt(call.run_key, store) is not None:
        return PlannedTraining(None, as_of, f"nothing new: training {call.run_key[:12]} was done before")
    why = f"asked for by {actor.name}"
    if not asked_for and not _holds_lease(state, actor):
        decision = decide_on_schedule(state, model.governor, fingerprint, as_of)
        if not decision.retrain:
            return PlannedTraining(None, as_of, decision.why)
        why = decision.why

    write_call(call, store)
    newest = all(item.as_of <= as_of for item in state.trainings)  # a backfill answers no wish of today
    training = Training(
        run_key=call.run_key,
        as_of=as_of,
        fingerprint=fingerprint,
        drift=newest and state.retrain is not None,
    )
    record(ledger, begin_training(training, why, actor), actor)
    return PlannedTraining(call.run_key, as_of, why)


def _is_done(state: ModelState, run_key: str) -> bool:
    """Whether a training came to its end: proposed, decided, or rejected by a gate; not if it failed."""
    proposed = {item.run_key for item in state.undecided}
    ended = {item.run_key for item in state.trainings if item.outcome not in (None, "failed")}
    return run_key in proposed | ended


def _holds_lease(state: ModelState, actor: Actor) -> bool:
    """Whether this very run began the training already, and is being retried."""
    return state.lease is not None and state.lease.holder == actor.run_id
