"""Publish: good rows replace the partition in one commit; bad rows go to quarantine."""

from __future__ import annotations

from include.lifecycle.data.privacy.erased import check_nobody_erased
from include.lifecycle.data.publishing import (
    content_label,
    published_table,
    quarantine,
    quarantine_table,
)
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.running import Work
from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, Receipt, read_receipt


def plan(validated: Receipt, over: str | None, store: Store) -> Call:
    """The call that publishes what an audit passed, over the publication (see `Table.publication`) that
    was the newest before the rows were read.

    Without what it replaces, here and in quarantine, going back to a content of long ago would be the
    call of then, and its receipt would be taken for the work.
    """
    dataset, partition = validated.call.spec["name"], validated.call.inputs["partition"]
    return Call(
        step="publish",
        spec=validated.call.spec,
        inputs={
            "validate": validated.run_key,
            "partition": partition,
            "over": over,
            "quarantined": quarantine_table(dataset, store).publication(partition),
        },
        as_of=validated.call.as_of,
        code=code_hash("publish"),
    )


def run(work: Work) -> None:
    """Result `version` is the table's; counts rows_in = published + quarantined + repeated + suppressed.

    Raises Rejected when the audit stopped the partition: its bad rows are kept in quarantine, and
    what was published before stays.
    """
    spec = DatasetSpec.model_validate(work.call.spec)
    partition, run_key = work.call.inputs["partition"], work.call.run_key
    validated = read_receipt(work.call.inputs["validate"], work.store)
    good = validated.outputs["good"]
    table = published_table(spec.name, work.store)
    label = content_label(spec, validated.results["content"])
    _check_nobody_published(table, partition, label, work.call.inputs["over"])
    _quarantine(work, spec, validated)
    if validated.results["stop"]:
        raise Rejected(
            f"{spec.name} {partition} is not published: {validated.results['stop']}. The rows are in "
            f"quarantine/{spec.name}; mend the source or the rule, then clear the DAG run"
        )
    version, changed = table.publish(
        partition,
        label,
        work.store.fetch(good, work.folder / "good.parquet"),
        run_key,
        over=work.call.inputs["over"],
        widen=spec.schema_changes.widened == "rewrite",
    )
    check_nobody_erased(spec.name, partition, good, work.store)
    work.results |= {"version": version, "partition": partition, "changed": changed}
    work.counts |= {
        "rows_in": validated.counts["rows_in"],
        "published": validated.counts["good"],
        "quarantined": validated.counts["quarantined"],
        "repeated": validated.counts["repeated"],
        "suppressed": validated.counts.get("suppressed", 0),
    }


def _check_nobody_published(table: Table, partition: str, label: str, over: str | None) -> None:
    """Raise Rejected when the partition was published since its rows were read: those may be newer."""
    if table.publication(partition) != over and table.partitions().get(partition) != label:
        raise Rejected(
            f"{table.name} {partition} was published by another run since these rows were read; nothing "
            "is published. Clear the DAG run: it reads them again"
        )


def _quarantine(work: Work, spec: DatasetSpec, validated: Receipt) -> None:
    """Replace the partition's rows in quarantine, where it has or had any.

    They are there since the audit, however often it is published: what expired does not come back.
    """
    table, partition = quarantine_table(spec.name, work.store), work.call.inputs["partition"]
    if validated.counts["quarantined"] or partition in table.partitions():
        bad = validated.outputs["bad"]
        file = work.store.fetch(bad, work.folder / "bad.parquet")
        quarantine(table, partition, bad, file, validated.ended, work.call.run_key)
        check_nobody_erased(spec.name, partition, bad, work.store)
