"""Score: a span of a model's rows, by one version, into the table of its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.data.spans import Span
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.quantities import utc
from mlops.business_time import Context, asked, asked_moment
from mlops.hooks.registry import RegistryHook
from mlops.links import VersionLink, version_address
from mlops.operators.step import StepOperator

if TYPE_CHECKING:
    from include.lifecycle.store.objects import Store
    from include.lifecycle.store.receipts import Call, Receipt


class ScoreOperator(StepOperator):
    """Scores the rows of the form's span, else of the run's data interval, else the newest partition."""

    ui_color = "#fdf1cf"
    operator_extra_links = (VersionLink(),)

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def plan(self, context: Context, store: Store) -> Call:
        """The scoring of the span by the form's version, else by the champion."""
        from include.lifecycle.steps import score

        span = asked_span(context)
        own = None if span else interval_of(context)
        call = score.plan(self.model, asked(context, "version"), span or own, store, awaited=own is not None)
        if call is None:
            raise AirflowSkipException(f"nothing to score: no published partition ends {own}")
        return call

    def after(self, context: Context, receipt: Receipt, store: Store) -> None:
        """Link the version; say what was scored to those who wait for the scores."""
        found = receipt.results
        url = RegistryHook().url
        self.addresses[VersionLink] = version_address(url, self.model, found["version"])
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = found

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """The version, the table's version, and the first and last partition."""
        return dict(receipt.results)


def asked_span(context: Context) -> Span | None:
    """The span in the form, or None when it was left empty; raises Rejected when it ends before it begins."""
    start, end = asked_moment(context, "start"), asked_moment(context, "end")
    if start is not None and end is not None and start >= end:
        raise Rejected(f"start {start:%Y-%m-%d %H:%M} must be before end {end:%Y-%m-%d %H:%M} (UTC)")
    return None if start is None and end is None else Span(start, end)


def interval_of(context: Context) -> Span | None:
    """The data interval of a run that was scheduled or backfilled; None for a run by hand."""
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if context["dag_run"].run_type == "manual" or start is None or end is None:
        return None
    return Span(utc(start), utc(end))
