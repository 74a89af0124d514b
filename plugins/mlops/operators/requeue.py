"""Select and revalidate: quarantined rows on their way back after a rule was mended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.spec.catalog import open_catalog
from mlops.business_time import Context, asked
from mlops.operators.ingest import ValidateOperator
from mlops.operators.step import LifecycleOperator

if TYPE_CHECKING:
    from include.lifecycle.steps.requeueing import Quarantined
    from include.lifecycle.store.objects import Store
    from include.lifecycle.store.receipts import Call


class SelectQuarantinedOperator(LifecycleOperator):
    """Looks up the partitions with rows in quarantine, as the form asks."""

    ui_color = "#e8e0f5"

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset

    def perform(self, context: Context) -> list[dict[str, Any]]:
        """Return them, or skip when there are none."""
        from include.lifecycle.steps.requeueing import quarantined_partitions

        spec = open_catalog().dataset(self.dataset)
        partition, rule = asked(context, "partition"), asked(context, "rule")
        found = quarantined_partitions(spec, self.store, partition, rule)
        if not found:
            place = f" of {partition}" if partition else ""
            reason = f" that breaks {rule!r}" if rule else ""
            raise AirflowSkipException(f"{self.dataset}: no row{place} is in quarantine{reason}")
        return [item.model_dump(mode="json") for item in found]


class RevalidateOperator(ValidateOperator):
    """Audits all rows of a quarantined partition again, by the rules as they are now."""

    template_fields: Sequence[str] = ("found",)

    def __init__(self, *, dataset: str, found: Any, **kwargs: Any) -> None:
        super().__init__(extracted=None, **kwargs)
        self.dataset = dataset
        self.found = found

    def plan(self, context: Context, store: Store) -> Call:
        """The audit of what was staged."""
        from include.lifecycle.steps.requeueing import plan_revalidation

        return plan_revalidation(open_catalog().dataset(self.dataset), _quarantined(self.found), store)

    @property
    def over(self) -> str | None:
        """The publication that was the newest when the partition was looked up."""
        over: str | None = self.found["over"]
        return over


def _quarantined(found: dict[str, Any]) -> Quarantined:
    from include.lifecycle.steps.requeueing import Quarantined

    return Quarantined.model_validate(found)
