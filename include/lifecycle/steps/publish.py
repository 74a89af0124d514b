"""Publish: good rows replace the partition in one commit; bad rows go to quarantine."""

from __future__ import annotations

from include.lifecycle.data.publishing import publish, published_table, quarantine_table
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.running import Work
from include.lifecycle.store.receipts import Call, Receipt, read_receipt


def plan(validated: Receipt, published: str | None) -> Call:
    """The call that publishes what an audit passed, over the content that is published now."""
    return Call(
        step="publish",
        spec=validated.call.spec,
        inputs={
            "validate": validated.run_key,
            "partition": validated.call.inputs["partition"],
            "over": published,
        },
        as_of=validated.call.as_of,
        code=code_hash("publish"),
    )


def run(work: Work) -> None:
    """Result `version` is the table's; counts rows_in = published + quarantined + repeated.

    Raises Rejected when the audit stopped the partition: its bad rows are kept in quarantine, and
    what was published before stays.
    """
    spec = DatasetSpec.model_validate(work.call.spec)
    partition, run_key = work.call.inputs["partition"], work.call.run_key
    validated = read_receipt(work.call.inputs["validate"], work.store)
    good, bad = validated.outputs["good"], validated.outputs["bad"]

    if validated.counts["quarantined"] or partition in quarantine_table(spec.name, work.store).partitions():
        file = work.store.fetch(bad, work.folder / "bad.parquet")
        publish(quarantine_table(spec.name, work.store), partition, bad.sha256, file, run_key)
    if validated.results["stop"]:
        raise Rejected(
            f"{spec.name} {partition} is not published: {validated.results['stop']}. The rows are in "
            f"the table {spec.name}__quarantine; mend the source or the rule, then clear the DAG run"
        )
    file = work.store.fetch(good, work.folder / "good.parquet")
    version, changed = publish(published_table(spec.name, work.store), partition, good.sha256, file, run_key)
    work.results |= {"version": version, "partition": partition, "changed": changed}
    work.counts |= {
        "rows_in": validated.counts["rows_in"],
        "published": validated.counts["good"],
        "quarantined": validated.counts["quarantined"],
        "repeated": validated.counts["repeated"],
    }
