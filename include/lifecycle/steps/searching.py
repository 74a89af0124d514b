"""Searches for hyperparameters: what is tried next, what was found.

The trials' calls, under numbers, and their receipts are the whole study, and nothing else keeps it. What
a trial tries is asked once and recorded if absent, before it is run; so whoever dies, and wherever, the
next one finds the same trials, and runs those that have no receipt. A trial without a receipt when the
next round is asked counts as failed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from include.lifecycle.data.point_in_time import watermark
from include.lifecycle.errors import Rejected, Tampered
from include.lifecycle.model.study import Outcome, Trial, ask
from include.lifecycle.monitor.governor import as_of as business_time
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.search import Search
from include.lifecycle.spec.value import Value, canonical_json
from include.lifecycle.steps import train, trial
from include.lifecycle.steps.code import code_hash
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, Receipt, find_receipt, read_call, write_call


class Asked(Value):
    """A trial that was asked: its number, its call, and its receipt once it is done."""

    number: int
    call: Call
    receipt: Receipt | None

    @property
    def trial(self) -> Trial:
        """What the study knows of it."""
        outcome = Outcome(state="failed") if self.receipt is None else trial.outcome_of(self.receipt)
        return Trial(parameters=self.call.inputs["parameters"], outcome=outcome)


def plan_search(model_name: str, catalog: Catalog, store: Store, *, slot: datetime, now: datetime) -> Call:
    """The search on what is published now; its run key is its key, and its time begins, once.

    Raises Rejected without `search` in the model's YAML or without published rows.
    """
    model = catalog.model(model_name)
    reach = watermark(catalog.dataset(model.rows), store)
    if reach is None:
        raise Rejected(f"{model.rows} has no published partition; run {model.rows}.ingest first")
    call = search_call(model, train.plan(model, catalog, business_time(slot, reach), store))
    write_call(call, store)
    store.put_if_absent(_begun_path(call.run_key), canonical_json({"at": now.isoformat()}))
    return call


def search_call(model: ModelSpec, training: Call) -> Call:
    """A search on what a training would learn from; it is no step, but names what its trials share."""
    if model.search is None:
        raise Rejected(f"{model.name}.yaml: search: missing; write the space to search")
    needs = model.compute.get("trial")
    device = {"device": "cuda"} if needs is not None and needs.gpu else {}
    search = model.search.model_dump(mode="json", exclude={"schedule"})
    return Call(
        step="search",
        spec={**{name: training.spec[name] for name in ("model", "datasets")}, "search": search},
        inputs={**{name: training.inputs[name] for name in ("features", "versions")}, **device},
        as_of=training.as_of,
        code=code_hash("trial"),
        seed=model.search.seed,
    )


def ask_round(key: str, number: int, store: Store, now: datetime) -> list[Asked]:
    """The trials of a round, counted from 0: those asked before, and new ones while there is time.

    Raises Rejected while the round before was not asked.
    """
    call, asked = read_call(key, store), asked_trials(key, store)
    search = Search.model_validate(call.spec["search"])
    first, late = number * search.parallel, is_late(key, search, store, now)
    end = len(asked) if late else min(first + search.parallel, search.trials)
    if len(asked) < first and not late:
        raise Rejected(f"search {key[:12]}: round {number - 1} was not asked; clear its task ask")
    for _ in range(len(asked), end):
        asked.append(_ask(call, search, asked[:first], asked[first:], store))
    return asked[first : first + search.parallel]


def asked_trials(key: str, store: Store) -> list[Asked]:
    """All trials that were asked, in order."""
    return [
        _recorded(store.get(path), number, store)
        for number, path in enumerate(store.list(f"searches/{key}/trials"))
    ]


def _ask(
    search_call: Call, search: Search, told: Sequence[Asked], running: Sequence[Asked], store: Store
) -> Asked:
    """Ask Optuna for a trial and record it; who comes second gets what the first recorded."""
    number = len(told) + len(running)
    trials = [item.trial for item in told]
    trials += [item.trial.model_copy(update={"outcome": Outcome(state="running")}) for item in running]
    parameters = ask(search, search_call.spec["model"]["training"]["parameters"], trials)
    receipts = [item.receipt.run_key if item.receipt else None for item in told]
    call = trial.plan(search_call, [*receipts, *[None] * len(running)], parameters)
    write_call(call, store)
    path = f"searches/{search_call.run_key}/trials/{number:06}.json"
    store.put_if_absent(path, canonical_json({"run_key": call.run_key}))
    return _recorded(store.get(path), number, store)


def _recorded(content: bytes | None, number: int, store: Store) -> Asked:
    try:
        run_key = json.loads(content or b"")["run_key"]
    except (ValueError, KeyError, TypeError):
        raise Tampered(f"trial {number} was changed in the store; remove its search's folder") from None
    call = read_call(run_key, store)
    return Asked(number=number, call=call, receipt=find_receipt(run_key, store))


def is_late(key: str, search: Search, store: Store, now: datetime) -> bool:
    """Whether the search's minutes are spent; once they are, they stay so."""
    begun = json.loads(store.get(_begun_path(key)) or b"{}").get("at")
    if begun is None:
        raise Rejected(f"search {key[:12]} was not begun; clear the task plan")
    return now - datetime.fromisoformat(begun) >= timedelta(minutes=search.minutes)


def _begun_path(key: str) -> str:
    return f"searches/{key}/begun.json"
