"""Plan, ask, trial, finish: from a space of parameters to those that the next training takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.lifecycle.errors import Rejected
from include.lifecycle.spec.catalog import open_catalog
from mlops.business_time import Context, actor, asked_or_slot
from mlops.hooks.registry import RegistryHook
from mlops.links import RunLink, run_address
from mlops.operators.step import LifecycleOperator, StepOperator

if TYPE_CHECKING:
    from include.lifecycle.store.objects import Store
    from include.lifecycle.store.receipts import Call, Receipt


class PlanSearchOperator(LifecycleOperator):
    """Pins what the trials learn from; the time of a search that was planned before goes on."""

    ui_color = "#e8e0f5"

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def perform(self, context: Context) -> dict[str, Any]:
        """Return the search's key."""
        from include.lifecycle.steps.searching import plan_search

        slot, now = asked_or_slot(context, "as_of"), datetime.now(UTC)
        call = plan_search(self.model, open_catalog(), self.store, slot=slot, now=now)
        return {"search": call.run_key, "as_of": call.as_of.isoformat()}


class AskOperator(LifecycleOperator):
    """Asks for the trials of a round, counted from 0, on what the rounds before it told."""

    ui_color = "#f9d5c9"
    template_fields: Sequence[str] = ("planned",)

    def __init__(self, *, planned: Any, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.planned = planned
        self.number = number

    def perform(self, context: Context) -> list[dict[str, Any]]:
        """Return number, run key and parameters of each trial; none when the search's time is over."""
        from include.lifecycle.steps.searching import ask_round

        asked = ask_round(self.planned["search"], self.number, self.store, datetime.now(UTC))
        if not asked:
            self.log.info("no trial in round %s: the search's minutes are spent", self.number)
        return [
            {"number": item.number, "run_key": item.call.run_key, "parameters": item.trial.parameters}
            for item in asked
        ]


class TrialOperator(StepOperator):
    """Fits and measures one trial; it is mapped over those that were asked."""

    ui_color = "#d9c8f0"
    template_fields: Sequence[str] = ("asked",)

    def __init__(self, *, model: str, asked: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.asked = asked

    def plan(self, context: Context, store: Store) -> Call:
        """The call that was asked."""
        from include.lifecycle.store.receipts import read_call

        self.log.info("trial %s tries %s", self.asked["number"], self.asked["parameters"])
        return read_call(self.asked["run_key"], store)

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """Whether it was completed or pruned, its value, its trees."""
        outcome = receipt.results["outcome"]
        return {name: outcome[name] for name in ("state", "value", "trees")}


class FinishSearchOperator(LifecycleOperator):
    """Chooses the winner, logs all trials in MLflow, tells the ledger and wakes the training.

    It runs whatever became of trials, and of a search that was never planned there is nothing to finish.
    """

    ui_color = "#cfe2f3"
    template_fields: Sequence[str] = ("planned",)
    operator_extra_links = (RunLink(),)

    def __init__(self, *, planned: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.planned = planned

    def perform(self, context: Context) -> dict[str, Any]:
        """Return the winner's number and parameters, and why it won."""
        from include.lifecycle.model.search_runs import SearchRuns
        from include.lifecycle.steps.search_result import conclude, log_found, tell

        if self.planned is None:
            raise Rejected("the search was not planned: see the task plan")
        store, registry = self.store, RegistryHook()
        found = conclude(self.planned["search"], store, datetime.now(UTC))
        registry.get_conn()
        logged = log_found(found, SearchRuns())
        self.addresses[RunLink] = run_address(registry.url, logged.experiment_id, logged.run_id)
        tell(found, store, actor(context))
        self.log.info("%s", found.why)
        extra = {"as_of": found.call.as_of.isoformat(), "reason": found.why}
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = extra
        parameters = found.asked[found.winner].trial.parameters
        return {"trial": found.winner, "parameters": parameters, "why": found.why}
