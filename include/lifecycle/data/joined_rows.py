"""Writes rows of some partitions to a file, joined as training joins them, labelled or not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from include.lifecycle.data.literals import text
from include.lifecycle.data.point_in_time import (
    EVENT_TIME,
    KEY,
    LABEL,
    connected_to,
    select_rows,
    sparingly,
    used_columns,
)
from include.lifecycle.data.publishing import published_table
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.store.lake import PARTITION
from include.lifecycle.store.objects import Store

_MICROSECOND = timedelta(microseconds=1)
_WANTED = "_wanted"
"""The rows' own table may be joined with them, and whole then."""


def write_joined(
    model: ModelSpec,
    datasets: Mapping[str, DatasetSpec],
    pins: Mapping[str, int],
    store: Store,
    partitions: Collection[str],
    file: Path,
) -> None:
    """Write all rows of some partitions to a Parquet file, by partition, time and key.

    Columns: `_partition`, `_key`, `_event_time` and the model's inputs. Of the joined tables only the span
    that these rows can be joined with is read. What the profile's memory does not hold lies beside the file
    meanwhile. Raises Rejected as `read_rows` does.
    """
    rows = datasets[model.rows]
    tables = {name: published_table(name, store).dataset(version) for name, version in pins.items()}
    with connected_to(pins, store) as db:
        used = {*used_columns(model, rows), PARTITION}
        db.register(_WANTED, sparingly(tables[model.rows], used, ds.field(PARTITION).isin(list(partitions))))
        span = _span(db, rows.event_time)
        for name in {join.dataset for join in model.joins}:
            within = _reach(model, datasets[name], span)
            db.register(name, sparingly(tables[name], used_columns(model, datasets[name]), within))
        db.execute(f"SET temp_directory = {text(str(file.with_name('spill')))}")
        selected = select_rows(model, datasets, f'r."{PARTITION}"', source=_WANTED)
        db.execute(
            f"COPY (SELECT * EXCLUDE ({LABEL}) FROM ({selected}) ORDER BY {PARTITION}, {EVENT_TIME}, {KEY}) "
            f"TO {text(str(file))} (FORMAT parquet, COMPRESSION zstd)"
        )


def _span(db: duckdb.DuckDBPyConnection, event_time: str) -> tuple[int, int]:
    """When the first and the last of the rows happened, in microseconds."""
    ((first, last),) = db.execute(
        f'SELECT coalesce(epoch_us(min("{event_time}")), 0), coalesce(epoch_us(max("{event_time}")), 0) '
        f"FROM {_WANTED}"
    ).fetchall()
    return first, last


def _reach(model: ModelSpec, joined: DatasetSpec, span: tuple[int, int]) -> ds.Expression:
    """Which rows of a joined table can be known to rows of that span, and not too old for them."""
    joins = [join for join in model.joins if join.dataset == joined.name]
    oldest = max(join.lag + join.tolerance for join in joins)
    newest = min(join.lag for join in joins)
    first, last = (
        pa.scalar(moment - lag // _MICROSECOND, pa.timestamp("us", "UTC"))
        for moment, lag in zip(span, (oldest, newest), strict=True)
    )
    time = ds.field(joined.event_time)
    return (time >= first) & (time <= last)
