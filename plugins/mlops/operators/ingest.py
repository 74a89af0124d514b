"""Extract, validate, publish: one partition on its way into the published table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.catalog import open_catalog
from mlops.business_time import Context, asked, is_asked_for, slot
from mlops.hooks.connections import airflow_connection
from mlops.links import ValidationLink, page_address
from mlops.notices import of_stop
from mlops.notifying import tell
from mlops.operators.step import LifecycleOperator, StepOperator

if TYPE_CHECKING:
    from include.lifecycle.spec.dataset import DatasetSpec
    from include.lifecycle.store.objects import Store
    from include.lifecycle.store.receipts import Call, Receipt


def partition_of(context: Context, spec: DatasetSpec) -> str:
    """The partition that a run is about: the form's, the data interval's, else the last full one.

    Raises Rejected for a backfill with a partition: all its runs would ingest that one.
    """
    calendar = calendar_of(spec)
    if (name := asked(context, "partition")) is not None:
        if context["dag_run"].run_type == "backfill":
            raise Rejected(
                f"{spec.name}: each run of a backfill ingests the {spec.partition} of its own interval, but "
                f"`partition` says {name!r}: leave it empty, or trigger {spec.name}.ingest for this one"
            )
        return calendar.named(name).name
    start = context.get("data_interval_start")
    if start is None or start == context.get("data_interval_end"):
        (last,) = calendar.before(calendar.holding(slot(context)), 1)
        return last.name
    return calendar.holding(start).name


def partitions_of(context: Context, spec: DatasetSpec) -> list[str]:
    """The partitions that a run reads, oldest first: its own, after the `lookback` before it.

    A run that a person asked for, by hand or by a backfill, reads its own alone.
    """
    own = partition_of(context, spec)
    if is_asked_for(context):
        return [own]
    calendar = calendar_of(spec)
    first = datetime.combine(spec.schedule.start, time(), ZoneInfo(spec.timezone))
    earlier = calendar.before(calendar.named(own), spec.lookback)
    return [*(item.name for item in earlier if item.start >= first), own]


class ListPartitionsOperator(LifecycleOperator):
    """Says which partitions the run reads: its own, and those before it that may have late rows."""

    ui_color = "#e8e0f5"

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset

    def perform(self, context: Context) -> list[str]:
        """Return their names."""
        return partitions_of(context, open_catalog().dataset(self.dataset))


class ExtractOperator(StepOperator):
    """Reads a partition from its source into staging."""

    ui_color = "#d7ecd9"
    template_fields: Sequence[str] = ("partition",)

    def __init__(self, *, dataset: str, partition: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.partition = partition

    def plan(self, context: Context, store: Store) -> Call:
        """The extraction of the partition given, else of the run's."""
        from include.lifecycle.data.publishing import published_table
        from include.lifecycle.steps import extract

        spec = open_catalog().dataset(self.dataset)
        partition = self.partition or partition_of(context, spec)
        self.noted["over"] = published_table(self.dataset, store).publication(partition)
        return extract.plan(spec, partition, store, airflow_connection)

    def after(self, context: Context, receipt: Receipt, store: Store) -> None:
        """Say which columns look like personal data and have no treatment."""
        for column, found in receipt.results.get("personal_data", {}).items():
            self.log.warning("column %s looks like personal data (%s)", column, found["kind"])

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """The partition, and which publication of it was the newest before its source was read."""
        return {"partition": receipt.call.inputs["partition"], "over": self.noted["over"]}


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
        from include.lifecycle.spec.dataset import DatasetSpec
        from include.lifecycle.steps import validate
        from include.lifecycle.store.receipts import read_receipt

        extracted = read_receipt(self.extracted["run_key"], store)
        spec, partition = DatasetSpec.model_validate(extracted.call.spec), extracted.call.inputs["partition"]
        return validate.plan(
            spec, partition, extracted.outputs["staged"], extracted.counts["suppressed"], store
        )

    def after(self, context: Context, receipt: Receipt, store: Store) -> None:
        """Link the audit's page; say what will stop the partition, and what the audit warns of."""
        self.addresses[ValidationLink] = page_address(receipt.run_key, "gx_page")
        for rule, rows in receipt.results["broken"].items():
            self.log.info("quarantined %d rows: %s", rows, rule)
        for warning in receipt.results.get("warnings", ()):
            self.log.warning("the audit warns: %s", warning)
        if receipt.results["stop"]:
            self.log.warning("the partition will not be published: %s", receipt.results["stop"])

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """The partition, and which publication of it the rows may replace."""
        return {"partition": receipt.call.inputs["partition"], "over": self.over}

    @property
    def over(self) -> str | None:
        """The publication that was the newest before the rows were read."""
        over: str | None = self.extracted["over"]
        return over


class PublishOperator(StepOperator):
    """Replaces the partition in the published table, in one commit; emits the dataset's asset."""

    ui_color = "#cfe2f3"
    template_fields: Sequence[str] = ("validated",)

    def __init__(self, *, dataset: str, validated: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.validated = validated

    def plan(self, context: Context, store: Store) -> Call:
        """The publication of what passed, over what was published before its rows were read."""
        from include.lifecycle.steps import publish
        from include.lifecycle.store.receipts import read_receipt

        validated = read_receipt(self.validated["run_key"], store)
        return publish.plan(validated, self.validated["over"], store)

    def after(self, context: Context, receipt: Receipt, store: Store) -> None:
        """Tell the asset's readers which table version holds which partition."""
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = {
                "table_version": receipt.results["version"],
                "partition": receipt.results["partition"],
            }

    def rejected(self, context: Context, call: Call, error: Rejected, store: Store) -> None:
        """Tell people of a partition that its audit stopped, once for the same rows in quarantine."""
        from include.lifecycle.data.publishing import quarantine_table
        from include.lifecycle.store.receipts import read_receipt

        validated, partition = read_receipt(call.inputs["validate"], store), call.inputs["partition"]
        now = quarantine_table(self.dataset, store).publication(partition)
        known = validated.counts["quarantined"] > 0 and now == call.inputs["quarantined"]
        tell(of_stop(self.dataset, partition, validated.results["stop"], known=known), context)

    def summary(self, receipt: Receipt) -> dict[str, Any]:
        """Table version and partition."""
        return {"version": receipt.results["version"], "partition": receipt.results["partition"]}
