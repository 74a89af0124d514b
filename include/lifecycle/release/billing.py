"""An attempt at a model's step is written into its ledger, once, with what it used and cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from include.lifecycle.release.costs import USED, cost_of
from include.lifecycle.release.decisions import Actor, Decide, Draft, record
from include.lifecycle.release.state import ModelState
from include.lifecycle.spec.profile import Prices, open_profile
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call
from include.lifecycle.store.usage import Attempt


def bill(model: str, call: Call, attempts: Iterable[Attempt], store: Store, actor: Actor) -> None:
    """Write attempts at a call into the model's ledger, at the prices of the profile."""
    for attempt in attempts:
        record(Ledger(store, model), use(attempt, call, open_profile().prices), actor)


def use(attempt: Attempt, call: Call, prices: Prices | None) -> Decide:
    """Record what an attempt at a call used, once; without prices no cost is claimed."""

    def decide(state: ModelState) -> Draft | None:
        if any(attempt.id in totals.attempts for totals in state.usage.values()):
            return None
        data: dict[str, Any] = {"step": call.step, "run_key": call.run_key}
        data |= {"attempt": attempt.id, "where": attempt.where, "usage": attempt.usage.model_dump()}
        why = f"{call.step} took {attempt.usage.seconds:.1f} s ({attempt.where})"
        if prices is not None:
            data |= {"cost": cost_of(attempt.usage, prices), "currency": prices.currency}
            why += f", {data['cost']:.4f} {prices.currency}"
        return Draft(event=USED, as_of=call.as_of, why=why, data=data)

    return decide
