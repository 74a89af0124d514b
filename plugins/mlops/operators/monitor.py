"""Measure and govern: a window of the served model, and whether to retrain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.spec.catalog import open_catalog
from mlops.business_time import Context, actor, asked_or_slot
from mlops.links import ReportLink, page_address
from mlops.notices import of_governing
from mlops.notifying import tell
from mlops.operators.step import LifecycleOperator, StepOperator

if TYPE_CHECKING:
    from include.lifecycle.store.objects import Store
    from include.lifecycle.store.receipts import Call, Receipt


class MeasureOperator(StepOperator):
    """Measures drift and performance of what was served in the run's window."""

    ui_color = "#d7ecd9"
    operator_extra_links = (ReportLink(),)

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def plan(self, context: Context, store: Store) -> Call:
        """The measurement of the window that ends with the run's slot, as far as the data reach."""
        from include.lifecycle.steps.watching import plan_window

        call = plan_window(open_catalog(), self.model, store, slot=asked_or_slot(context, "window_end"))
        if call is None:
            raise AirflowSkipException("nothing to watch: no champion, or no data, at that time")
        return call

    def after(self, context: Context, receipt: Receipt, store: Store) -> None:
        """Link Evidently's report, where there were predictions to report on."""
        if "report" in receipt.outputs:
            self.addresses[ReportLink] = page_address(receipt.run_key, "report")

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """The window's end, and its metrics."""
        window = receipt.results["window"]
        metrics = {name: round(value, 5) for name, value in window["metrics"].items()}
        return {"end": window["end"], "version": window["version"], **metrics}


class GovernOperator(LifecycleOperator):
    """Records the window's verdict and asks the governor; emits the drift asset when it says so."""

    ui_color = "#f9d5c9"
    template_fields: Sequence[str] = ("measured",)

    def __init__(self, *, model: str, measured: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.measured = measured

    def perform(self, context: Context) -> dict[str, Any]:
        """Return the decision to retrain, or skip with the reason not to: a skip emits nothing."""
        from include.lifecycle.steps.watching import govern
        from include.lifecycle.store.receipts import read_receipt

        store = self.store
        measured = read_receipt(self.measured["run_key"], store)
        decision, entry = govern(open_catalog().model(self.model), measured, store, actor(context))
        tell(of_governing(self.model, entry), context)
        if not decision.retrain:
            raise AirflowSkipException(decision.why)
        extra = {"as_of": measured.call.as_of.isoformat(), "reason": decision.why}
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = extra
        return extra
