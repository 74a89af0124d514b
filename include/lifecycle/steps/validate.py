"""Validate: the staged rows get their types and are audited; bad rows part from good ones."""

from __future__ import annotations

from include.lifecycle.data.partition_rows import open_rows
from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.data.privacy.erased import check_nobody_erased
from include.lifecycle.data.validation.audit import audit, judge_quarantine
from include.lifecycle.data.validation.bands import judge_bands, judge_references, pin_bands, pin_references
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.running import Work
from include.lifecycle.store.objects import Output, Store
from include.lifecycle.store.receipts import Call


def plan(spec: DatasetSpec, partition: str, staged: Output, suppressed: int, store: Store) -> Call:
    """The call that validates what was staged of a partition, whichever extraction staged it.

    Beside the rows it depends on the published partitions before, where there are bands, and on the
    datasets that references name. Raises Rejected when one of those is empty.
    """
    return Call(
        step="validate",
        spec=spec.model_dump(mode="json"),
        inputs={
            "staged": staged.model_dump(mode="json"),
            "partition": partition,
            "suppressed": suppressed,
            "bands": pin_bands(spec, partition, store),
            "references": pin_references(spec, store),
        },
        as_of=calendar_of(spec).named(partition).start,
        code=code_hash("validate"),
    )


def run(work: Work) -> None:
    """Outputs `good`, `bad`, `gx_result`, `gx_page`.

    Counts rows_in = good + quarantined + repeated + suppressed. The result `stop` says why the partition
    must not be published, or is None; `warnings` are rules that only say so; `engines` are the rules of a
    large partition that ran in Great Expectations all the same, and why; `broken` counts quarantined rows by
    rule; `content` tells the good rows from others.
    """
    spec, inputs = DatasetSpec.model_validate(work.call.spec), work.call.inputs
    partition, suppressed = inputs["partition"], inputs["suppressed"]
    source = Output.model_validate(inputs["staged"])
    staged = work.store.fetch(source, work.folder / "staged.parquet")
    good, bad = work.folder / "good.parquet", work.folder / "bad.parquet"
    with open_rows(spec, staged, work.folder) as rows:
        found = audit(rows, partition)
        lost, findings = judge_references(rows, inputs["references"], work.store)
        parted = rows.part([*found.broken, *lost], good, bad, work.call.run_key)
        count, quarantined = rows.count, sum(parted.quarantined.values())
    findings += judge_bands(spec, good, partition, inputs["bands"], work.store)

    check_nobody_erased(spec.name, partition, source, work.store)
    work.keep("good", good)
    work.keep("bad", bad)
    work.keep("gx_result", found.result.encode())
    work.keep("gx_page", found.page.encode())
    check_nobody_erased(spec.name, partition, source, work.store, work.outputs.values())
    work.counts |= {
        "rows_in": count + suppressed,
        "good": parted.good,
        "quarantined": quarantined,
        "repeated": parted.repeated,
        "suppressed": suppressed,
    }
    stops = [*found.stops, *(item.text for item in findings if item.severity == "stop")]
    work.results["stop"] = judge_quarantine(spec, stops, count, parted.quarantined)
    work.results["broken"] = parted.quarantined
    work.results["warnings"] = [
        *found.warnings,
        *(item.text for item in findings if item.severity == "warn"),
    ]
    work.results["engines"] = found.engines
    work.results["content"] = parted.content
