"""Reads one local file in any format; a file is read to its end or nothing is taken from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ByteSize

from include.lifecycle.data.sources.batches import ROWS, text_batch, text_schema
from include.lifecycle.data.sources.csv_file import csv_batches, explain
from include.lifecycle.data.sources.json_rows import json_batches
from include.lifecycle.data.sources.packed import literal, refuse_large
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.source import Format
from include.lifecycle.store.objects import is_full
from include.lifecycle.store.scan import connect


def read_file(file: Path, origin: str, kind: Format, max_size: ByteSize) -> Iterator[pa.RecordBatch]:
    """The rows of one file in batches of text, of which `origin` tells people where they lie.

    Raises Rejected when the file cannot be read to its end.
    """
    reader = {"csv": csv_batches, "jsonl": json_batches, "parquet": _parquet_batches}[kind]
    try:
        yield from reader(file, origin, max_size)
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if is_full(error):
            raise
        raise Rejected(_unreadable(file, origin, kind, error)) from None


def _parquet_batches(file: Path, origin: str, max_size: ByteSize) -> Iterator[pa.RecordBatch]:
    """Values as DuckDB writes them: timestamps with a time zone in UTC, decimals with all their digits."""
    with pq.ParquetFile(file) as opened:
        groups = [opened.metadata.row_group(place) for place in range(opened.metadata.num_row_groups)]
        names = opened.schema_arrow.names
    refuse_large(sum(group.total_byte_size for group in groups), origin, max_size)
    schema = text_schema(names, origin, "file")
    yield text_batch(schema)
    with connect() as db:
        rows = db.sql(
            f"SELECT COLUMNS(*)::VARCHAR FROM read_parquet({literal(file)}, hive_partitioning=false)"
        )
        for batch in rows.to_arrow_reader(ROWS):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def _unreadable(file: Path, origin: str, kind: Format, error: Exception) -> str:
    reason = str(error)
    if kind == "csv":
        try:
            reason = explain(file, origin, error)
        except OSError:  # damaged: the first error says it
            reason = str(error)
    reason = reason.split("\n\n")[0].split("Possible")[0].split("Try setting")[0]
    reason = " ".join(reason.replace(str(file), origin).split())[:300]
    return (
        f"{origin}: cannot be read to its end, nothing was taken from it ({reason}); "
        "deliver the file again, then clear this task"
    )
