"""Watches a served model: which window to measure, and what follows from its measurement."""

from __future__ import annotations

from datetime import datetime

from include.lifecycle.data.point_in_time import watermark
from include.lifecycle.monitor.governor import Decision, decide_on_windows
from include.lifecycle.monitor.governor import as_of as business_time
from include.lifecycle.monitor.windows import Window, judge_window
from include.lifecycle.release.decisions import Actor, Draft, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.state import ModelState, WindowVerdict
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.steps import measure
from include.lifecycle.store.ledger import Entry, Ledger
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, Receipt


def plan_window(catalog: Catalog, model_name: str, store: Store, *, slot: datetime) -> Call | None:
    """The measurement of the window that ends at the slot, or where the data end.

    None when there was no champion, or no data, at that time.
    """
    model = catalog.model(model_name)
    reach = watermark(catalog.dataset(model.rows), store)
    champion = fold(Ledger(store, model_name).entries()).champion
    if reach is None or champion is None:
        return None
    end = business_time(slot, reach)
    if end <= champion.as_of:
        return None
    return measure.plan(model, champion, end, store)


def govern(model: ModelSpec, measured: Receipt, store: Store, actor: Actor) -> tuple[Decision, Entry | None]:
    """Record the window's verdict, then ask the governor; returns its decision and the entry made of it.

    A decision to retrain makes one, and the first one to give drift up after a training. A window that is
    not newer than the last one is recorded and never acts. A rerun finds its entries there and comes to
    the same decision.
    """
    ledger = Ledger(store, model.name)
    window = Window.model_validate(measured.results["window"])
    verdict = judge_window(window, model.monitoring)
    entry = _window_entry(verdict, window, measured.run_key)
    record(ledger, lambda state: None if verdict in state.windows else entry, actor)

    decision = Decision(retrain=False, why="a newer window was judged before; this one is only recorded")

    def decide(state: ModelState) -> Draft | None:
        nonlocal decision
        if state.windows[-1].end != verdict.end:
            return None
        decision = decide_on_windows(state, model.governor, verdict.end, window.growth)
        return _draft(decision, state, verdict.end)

    made = record(ledger, decide, actor)
    return decision, made


def _draft(decision: Decision, state: ModelState, as_of: datetime) -> Draft | None:
    """What the ledger does not say yet of a decision."""
    if decision.retrain and state.retrain is None:
        return Draft(event="retrain", as_of=as_of, why=decision.why)
    after = decision.circuit_open_after
    if after is not None and after != state.circuit_opened_after:
        return Draft(event="circuit_opened", as_of=as_of, why=decision.why, data={"training": after})
    return None


def _window_entry(verdict: WindowVerdict, window: Window, run_key: str) -> Draft:
    data = {
        "bad": verdict.bad,
        "version": window.version,
        "run_key": run_key,
        "rows": window.rows,
        "labelled": window.labelled,
        "metrics": window.metrics,
    }
    return Draft(event="window", as_of=verdict.end, why=verdict.why, data=data)
