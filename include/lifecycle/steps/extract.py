"""Extract: the partition's source files into staging, as text, counted."""

from __future__ import annotations

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.data.sources import fingerprint, source_files, stage
from include.lifecycle.errors import Transient
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.running import Work
from include.lifecycle.store.receipts import Call


def plan(spec: DatasetSpec, partition: str) -> Call:
    """The call that extracts one partition; it depends on the bytes of the source's files.

    Raises Rejected when the partition has not arrived.
    """
    start = calendar_of(spec).named(partition).start
    files = source_files(spec.source, start)
    return Call(
        step="extract",
        spec=spec.model_dump(mode="json"),
        inputs={"partition": partition, "files": fingerprint(files)},
        as_of=start,
        code=code_hash("extract"),
    )


def run(work: Work) -> None:
    """Outputs `staged`; counts `rows_in`."""
    spec = DatasetSpec.model_validate(work.call.spec)
    files = source_files(spec.source, work.call.as_of)
    staged = work.folder / "staged.parquet"
    work.counts["rows_in"] = stage(spec, files, staged)
    if fingerprint(files) != work.call.inputs["files"]:
        raise Transient(f"{spec.name}: the files of {work.call.inputs['partition']} changed while read")
    work.keep("staged", staged)
