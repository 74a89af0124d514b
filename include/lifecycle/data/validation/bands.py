"""Rules about a partition beside others: near the ones before it, and found in other datasets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pyarrow as pa

from include.lifecycle.data.literals import NUMERIC, quoted, text
from include.lifecycle.data.partition_rows import TYPED, Broken, PartitionRows
from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.data.publishing import published_table
from include.lifecycle.data.types import arrow_types
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.dataset import ColumnType, DatasetSpec
from include.lifecycle.spec.rules import Band, Reference, Severity
from include.lifecycle.store.lake import CONTENT, PARTITION
from include.lifecycle.store.objects import Store
from include.lifecycle.store.scan import connect


@dataclass(frozen=True)
class Finding:
    """A rule that is broken, or that could not be judged, in words."""

    severity: Severity
    text: str


def pin_bands(spec: DatasetSpec, partition: str, store: Store) -> dict[str, str]:
    """The published partitions before this one that a band looks at, and what each holds."""
    if not spec.bands:
        return {}
    calendar = calendar_of(spec)
    before = calendar.before(calendar.named(partition), max(band.of_last for band in spec.bands))
    published = published_table(spec.name, store).partitions()
    return {item.name: published[item.name] for item in before if item.name in published}


def pin_references(spec: DatasetSpec, store: Store) -> dict[str, int]:
    """The newest version of each dataset that a reference names; raises Rejected when one is empty."""
    pins = {}
    for name in sorted({reference.dataset for reference in spec.references}):
        version = published_table(name, store).version()
        if version is None:
            raise Rejected(
                f"{spec.name}.yaml: references: dataset {name} has no published partition; "
                f"run {name}.ingest first, then clear this task"
            )
        pins[name] = version
    return pins


def judge_bands(
    spec: DatasetSpec, good: Path, partition: str, pins: Mapping[str, str], store: Store
) -> list[Finding]:
    """Compare the rows to publish with the pinned partitions before; what was not judged is a warning.

    Raises Transient when one of those was published anew meanwhile.
    """
    if not spec.bands:
        return []
    calendar = calendar_of(spec)
    measured = _measure(spec, good, pins, store)
    found = []
    for band in spec.bands:
        before = calendar.before(calendar.named(partition), band.of_last)
        earlier = [measured[item.name][band] for item in before if item.name in measured]
        found.append(_judge(band, measured[""][band], [value for value in earlier if value is not None]))
    return [finding for finding in found if finding is not None]


def _judge(band: Band, value: float | None, earlier: list[float]) -> Finding | None:
    name = f"band {band.measure}" + (f": {band.column}" if band.column else "")
    if len(earlier) < band.at_least or value is None:
        said = f"{name} is not judged: {len(earlier)} of the {band.of_last} partitions before can be compared"
        return Finding("warn", f"{said}, at_least is {band.at_least}")
    middle = median(earlier)
    share = band.measure == "null_share"
    if abs(value - middle) <= band.within * (1 if share else middle):
        return None
    form = ".1%" if share else ",g"
    near = f"{band.within:{form}}" if share else f"{band.within:.0%}"
    said = f"{value:{form}}, median of {len(earlier)} partitions before {middle:{form}}, within {near}"
    return Finding(band.severity, f"{name} ({said})")


def _measure(
    spec: DatasetSpec, good: Path, pins: Mapping[str, str], store: Store
) -> dict[str, dict[Band, float | None]]:
    """Each band's measure of each pinned partition, and of the rows to publish under the name ``""``."""
    values = ", ".join(_measure_of(band) for band in spec.bands)
    table = published_table(spec.name, store)
    with connect() as db:
        rows = db.execute(f"SELECT '', {values} FROM read_parquet({text(str(good))})").fetchall()
        if pins:
            db.register("published", table.dataset())
            rows += db.execute(
                f"SELECT {PARTITION}, {values} FROM published WHERE {_is_pinned(pins)} GROUP BY {PARTITION}"
            ).fetchall()
    published = table.partitions()
    if any(published.get(name) != content for name, content in pins.items()):
        raise Transient(f"{spec.name}: a partition before was published anew meanwhile; run again")
    return {name: dict(zip(spec.bands, measures, strict=True)) for name, *measures in rows}


def _is_pinned(pins: Mapping[str, str]) -> str:
    """SQL for rows of pinned partitions; names and contents apart, so that no other file is opened."""
    names, contents = (", ".join(map(text, found)) for found in (pins, dict.fromkeys(pins.values())))
    pairs = ", ".join(f"({text(name)}, {text(content)})" for name, content in pins.items())
    return f"{PARTITION} IN ({names}) AND {CONTENT} IN ({contents}) AND ({PARTITION}, {CONTENT}) IN ({pairs})"


def _measure_of(band: Band) -> str:
    column = quoted(band.column or "")
    if band.measure == "rows":
        return "count(*)"
    if band.measure == "distinct":
        return f"count(DISTINCT {column})"
    return f"count(*) FILTER (WHERE {column} IS NULL) / nullif(count(*), 0)"


def judge_references(
    rows: PartitionRows, pins: Mapping[str, int], store: Store
) -> tuple[list[Broken], list[Finding]]:
    """Rules whose rows name what another dataset, as published, does not have; and what else follows.

    A row in which one of the columns is missing names nothing.
    """
    broken, findings = [], []
    for place, reference in enumerate(rows.spec.references):
        lost = _lost(rows, f"lost_{place}", reference, pins[reference.dataset], store)
        if not lost:
            continue
        if reference.severity == "quarantine":
            broken.append(Broken(reference.rule, f"_row IN (SELECT _row FROM lost_{place})"))
        else:
            findings.append(Finding(reference.severity, f"{reference.rule} ({lost} of {rows.count} rows)"))
    return broken, findings


def _lost(rows: PartitionRows, table: str, reference: Reference, version: int, store: Store) -> int:
    """How many rows are not found in the other dataset; they are kept as a table."""
    other = published_table(reference.dataset, store).dataset(version)
    assert other is not None  # it was pinned
    there = [quoted(column) for column in reference.columns.values()]
    same = " AND ".join(
        _equal(f"h.{quoted(one)}", rows.columns[one], f"t.{quoted(name)}", other.schema.field(name).type)
        for one, name in reference.columns.items()
    )
    present = " AND ".join(f"h.{quoted(one)} IS NOT NULL" for one in reference.columns)
    rows.db.register("other", other)
    rows.db.execute(
        f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT h._row "
        f"FROM (SELECT * FROM {TYPED} h WHERE {present}) h "
        f"ANTI JOIN (SELECT DISTINCT {', '.join(there)} FROM other) t ON {same}"
    )
    rows.db.unregister("other")
    ((count,),) = rows.db.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)


def _equal(one: str, kind: ColumnType, other: str, found: pa.DataType) -> str:
    """SQL for two columns' values being equal. A table of before a type was mended may differ from its
    YAML: as text any two can be compared."""
    numbers = pa.types.is_integer(found) or pa.types.is_floating(found)
    if arrow_types({"": kind}).field("").type == found or (kind in NUMERIC and numbers):
        return f"{one} = {other}"
    return f"{one}::VARCHAR = {other}::VARCHAR"
