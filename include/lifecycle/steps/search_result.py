"""What did a search find, and who is told: the model's ledger and MLflow."""

from __future__ import annotations

from datetime import datetime

from include.lifecycle.errors import Rejected
from include.lifecycle.model.search_runs import LoggedSearch, LoggedTrial, SearchRuns
from include.lifecycle.model.study import choose_best
from include.lifecycle.release.decisions import Actor, Draft, record
from include.lifecycle.release.state import ModelState
from include.lifecycle.spec.search import Search
from include.lifecycle.spec.value import Value
from include.lifecycle.steps.searching import Asked, asked_trials, is_late
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, read_call


class Found(Value):
    """A search that is over: its call, its trials, and the number of the winner."""

    call: Call
    asked: tuple[Asked, ...]
    winner: int
    why: str

    @property
    def search(self) -> Search:
        """How it was searched."""
        return Search.model_validate(self.call.spec["search"])

    @property
    def model(self) -> str:
        """For which model."""
        return str(self.call.spec["model"]["name"])


def conclude(key: str, store: Store, now: datetime) -> Found:
    """The search with its winner; raises Rejected when it is not over, or no trial was completed."""
    call = read_call(key, store)
    search, asked = Search.model_validate(call.spec["search"]), asked_trials(key, store)
    if len(asked) < search.trials and not is_late(key, search, store, now):
        raise Rejected(
            f"search {key[:12]}: {len(asked)} of {search.trials} trials were asked and there is time left; "
            "clear the first task ask that failed"
        )
    choice = choose_best(search, [item.trial for item in asked])
    if choice.number is None:
        raise Rejected(f"search {key[:12]}: {choice.why}; the logs of the trials say why")
    return Found(call=call, asked=tuple(asked), winner=choice.number, why=choice.why)


def log_found(found: Found, runs: SearchRuns) -> LoggedSearch:
    """Log what a search found in MLflow, once."""
    trials = [_logged(item) for item in found.asked]
    return runs.log_search(
        found.model,
        found.call.run_key,
        found.search.metric,
        trials,
        trials[found.winner],
        {"as_of": found.call.as_of.isoformat()},
    )


def tell(found: Found, store: Store, actor: Actor) -> bool:
    """Write what a search found into the model's ledger, once; whether it is news there."""
    winner, search = found.asked[found.winner], found.search
    data = {
        "search": found.call.run_key,
        "trial": winner.call.run_key,
        "space": search.space_hash,
        "parameters": winner.call.inputs["parameters"],
        "metric": search.metric,
        "value": winner.trial.outcome.value,
        "trials": len(found.asked),
    }

    def decide(state: ModelState) -> Draft | None:
        if (data["search"], data["trial"]) in {(item.search, item.trial) for item in state.searched}:
            return None
        return Draft(event="searched", as_of=found.call.as_of, why=found.why, data=data)

    return record(Ledger(store, found.model), decide, actor) is not None


def _logged(asked: Asked) -> LoggedTrial:
    trial, receipt = asked.trial, asked.receipt
    return LoggedTrial(
        run_key=asked.call.run_key,
        parameters=trial.parameters,
        outcome=trial.outcome,
        started=receipt.started if receipt else None,
        ended=receipt.ended if receipt else None,
    )
