"""Extract, validate, publish: one partition on its way into the published table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.spec.catalog import open_catalog
from mlops.business_time import Context, asked, slot
from mlops.links import ValidationLink, page_address
from mlops.operators.step import StepOperator

if TYPE_CHECKING:
    from include.lifecycle.spec.dataset import DatasetSpec
    from include.lifecycle.store.objects import Store
    from include.lifecycle.store.receipts import Call, Receipt


def partition_of(context: Context, spec: DatasetSpec) -> str:
    """The partition that a run is about: the form's, the data interval's, else the last full one."""
    calendar = calendar_of(spec)
    if (name := asked(context, "partition")) is not None:
        return calendar.named(name).name
    start = context.get("data_interval_start")
    if start is None or start == context.get("data_interval_end"):
        (last,) = calendar.before(calendar.holding(slot(context)), 1)
        return last.name
    return calendar.holding(start).name


class ExtractOperator(StepOperator):
    """Reads a partition from its source into staging."""

    ui_color = "#d7ecd9"

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset

    def plan(self, context: Context, store: Store) -> Call:
        """The extraction of the run's partition."""
        from include.lifecycle.steps import extract

        spec = open_catalog().dataset(self.dataset)
        return extract.plan(spec, partition_of(context, spec))


class ValidateOperator(StepOperator):
    """Audits what was staged with Great Expectations."""

    ui_color = "#fdf1cf"
    template_fields: Sequence[str] = ("extracted",)
    operator_extra_links = (ValidationLink(),)

    def __init__(self, *, extracted: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.extracted = extracted

    def plan(self, context: Context, store: Store) -> Call:
        """The audit of the extraction before it."""
        from include.lifecycle.steps import validate
        from include.lifecycle.store.receipts import read_receipt

        return validate.plan(read_receipt(self.extracted["run_key"], store))

    def after(self, context: Context, receipt: Receipt, store: Store) -> None:
        """Link the audit's page; say what will stop the partition."""
        self.addresses[ValidationLink] = page_address(receipt.run_key, "gx_page")
        if receipt.results["stop"]:
            self.log.warning("the partition will not be published: %s", receipt.results["stop"])


class PublishOperator(StepOperator):
    """Replaces the partition in the published table, in one commit; emits the dataset's asset."""

    ui_color = "#cfe2f3"
    template_fields: Sequence[str] = ("validated",)

    def __init__(self, *, dataset: str, validated: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.validated = validated

    def plan(self, context: Context, store: Store) -> Call:
        """The publication of what passed, over what is published now."""
        from include.lifecycle.data.publishing import published_table
        from include.lifecycle.steps import publish
        from include.lifecycle.store.receipts import read_receipt

        validated = read_receipt(self.validated["run_key"], store)
        partitions = published_table(self.dataset, store).partitions()
        return publish.plan(validated, partitions.get(validated.call.inputs["partition"]))

    def after(self, context: Context, receipt: Receipt, store: Store) -> None:
        """Tell the asset's readers which table version holds which partition."""
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = {
                "table_version": receipt.results["version"],
                "partition": receipt.results["partition"],
            }

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """Table version and partition."""
        return {"version": receipt.results["version"], "partition": receipt.results["partition"]}
