"""Publish: good rows replace the partition in one commit; bad rows go to quarantine."""

from __future__ import annotations

from include.lifecycle.data.publishing import (
    content_label,
    publish,
    published_table,
    quarantine,
    quarantine_table,
)
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.running import Work
from include.lifecycle.store.receipts import Call, Receipt, read_receipt


def plan(validated: Receipt, over: str | None) -> Call:
    """The call that publishes what an audit passed, over a publication (see `Table.publication`).

    Without the publication that it replaces, going back to a content of long ago would be the call
    of then, and its receipt would be taken for the work.
    """
    return Call(
        step="publish",
        spec=validated.call.spec,
        inputs={
            "validate": validated.run_key,
            "partition": validated.call.inputs["partition"],
            "over": over,
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
    _quarantine(work, spec, validated)
    if validated.results["stop"]:
        raise Rejected(
            f"{spec.name} {partition} is not published: {validated.results['stop']}. The rows are in "
            f"quarantine/{spec.name}; mend the source or the rule, then clear the DAG run"
        )
    good = validated.outputs["good"]
    version, changed = publish(
        published_table(spec.name, work.store),
        partition,
        content_label(spec, good.sha256),
        work.store.fetch(good, work.folder / "good.parquet"),
        run_key,
        widen=spec.schema_changes.widened == "rewrite",
    )
    work.results |= {"version": version, "partition": partition, "changed": changed}
    work.counts |= {
        "rows_in": validated.counts["rows_in"],
        "published": validated.counts["good"],
        "quarantined": validated.counts["quarantined"],
        "repeated": validated.counts["repeated"],
        "suppressed": validated.counts.get("suppressed", 0),
    }


def _quarantine(work: Work, spec: DatasetSpec, validated: Receipt) -> None:
    """Replace the partition's rows in quarantine, where it has or had any.

    They are there since the audit, however often it is published: what expired does not come back.
    """
    table, partition = quarantine_table(spec.name, work.store), work.call.inputs["partition"]
    if validated.counts["quarantined"] or partition in table.partitions():
        bad = validated.outputs["bad"]
        file = work.store.fetch(bad, work.folder / "bad.parquet")
        quarantine(table, partition, bad, file, validated.ended, work.call.run_key)
