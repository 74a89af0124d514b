from datetime import UTC, datetime

import pytest

from include.lifecycle.release.billing import use
from include.lifecycle.release.costs import USED, totals_of_run
from include.lifecycle.release.decisions import Actor, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.state import ModelState
from include.lifecycle.store.ledger import Entry, Ledger
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call
from include.lifecycle.store.usage import Attempt, Usage
from tests.lifecycle.release.test_costs import PRICES

ACTOR = Actor("late.train", "late.train/nightly")
CALL = Call(step="train", spec={}, as_of=datetime(2024, 3, 1, tzinfo=UTC), code="c")
OTHER = CALL.model_copy(update={"seed": 1})
USAGE = Usage(seconds=1800, cpu_seconds=3600, memory_gib_seconds=7200, gpu_seconds=0)


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store, "late")


def _attempt(name: str) -> Attempt:
    return Attempt(id=name, where=f"pod {name}", usage=USAGE)


def _at(moments: list[datetime]) -> ModelState:
    """The state after one attempt at each moment of the wall clock."""
    entries: list[Entry] = []
    for number, at in enumerate(moments):
        draft = use(_attempt(str(number)), CALL, PRICES)(fold(entries))
        assert draft is not None
        more = {"at": at, "actor": "a", "run_id": "r"}
        entries.append(Entry.chained(entries[-1] if entries else None, **draft.model_dump(), **more))
    return fold(entries)


def test_an_attempt_is_recorded_with_usage_and_cost_once(ledger: Ledger) -> None:
    entry = record(ledger, use(_attempt("a"), CALL, PRICES), ACTOR)
    assert entry is not None
    assert (entry.event, entry.as_of) == (USED, CALL.as_of)
    assert entry.why == "train took 1800.0 s (pod a), 0.0500 EUR"
    assert entry.data == {
        "step": "train",
        "run_key": CALL.run_key,
        "attempt": "a",
        "where": "pod a",
        "usage": USAGE.model_dump(),
        "cost": 0.05,
        "currency": "EUR",
    }
    assert record(ledger, use(_attempt("a"), CALL, PRICES), ACTOR) is None
    assert record(ledger, use(_attempt("b"), CALL, PRICES), ACTOR) is not None


def test_without_prices_usage_is_recorded_and_no_money(ledger: Ledger) -> None:
    entry = record(ledger, use(_attempt("a"), CALL, None), ACTOR)
    assert entry is not None
    assert not {"cost", "currency"} & set(entry.data)
    (totals,) = fold(ledger.entries()).usage.values()
    assert (totals.usage, totals.cost) == (USAGE, "")


def test_months_are_of_the_wall_clock_in_utc_whatever_the_business_time() -> None:
    state = _at(
        [
            datetime.fromisoformat(text)
            for text in ("2026-11-30T23:59:59Z", "2026-12-01T00:30:00+01:00", "2026-12-01T00:00:00Z")
        ]
    )
    assert {month: len(totals.attempts) for month, totals in state.usage.items()} == {
        "2026-11": 2,
        "2026-12": 1,
    }
    assert state.usage["2026-11"].usage == USAGE + USAGE
    assert state.usage["2026-11"].costs == {"EUR": 0.1}


def test_the_totals_of_a_run_are_those_of_its_own_attempts(ledger: Ledger) -> None:
    for name, call in (("a", CALL), ("b", OTHER), ("c", CALL)):
        record(ledger, use(_attempt(name), call, PRICES), ACTOR)
    totals = totals_of_run(CALL.run_key, ledger.entries())
    assert totals.attempts == {"a", "c"}
    assert totals.costs == {"EUR": 0.1}
