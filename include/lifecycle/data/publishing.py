"""Puts audited rows into the published table, and the others into quarantine."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include.lifecycle.data.types import arrow_schema
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import Store


def published_table(dataset: str, store: Store) -> Table:
    """The Delta table of a dataset."""
    return Table(store, dataset)


def quarantine_table(dataset: str, store: Store) -> Table:
    """The Delta table of a dataset's rejected rows: row as JSON, rule, run."""
    return Table(store, f"{dataset}__quarantine")


def newest_per_key(spec: DatasetSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without repeats: of one key, the row with the newest event time stays."""
    ordered = rows.sort_values([*spec.key, spec.event_time], kind="stable")
    return ordered.drop_duplicates(list(spec.key), keep="last")


def write_good(spec: DatasetSpec, rows: pd.DataFrame, file: Path) -> None:
    """Write rows to Parquet with the dataset's types, ordered by key: equal rows, equal bytes."""
    schema = arrow_schema(spec)
    table = pa.Table.from_pandas(rows[schema.names], schema=schema, preserve_index=False)
    pq.write_table(table, file, compression="zstd")


def write_bad(rows: pd.DataFrame, rules: pd.Series, run_key: str, file: Path) -> None:
    """Write rejected rows, as their source wrote them, as JSON with the rule each broke and the run."""
    texts = [row.to_json(date_format="iso") for _, row in rows.iterrows()]
    table = pa.table(
        {
            "row": pa.array(texts, pa.string()),
            "rule": pa.array(rules.astype(str), pa.string()),
            "run_key": pa.array([run_key] * len(texts), pa.string()),
        }
    )
    pq.write_table(table, file, compression="zstd")


def publish(table: Table, partition: str, content: str, file: Path, run_key: str) -> tuple[int, bool]:
    """Replace one partition of a table with a Parquet file's rows, in one commit.

    Returns the table's version, and whether there was anything to change.
    """
    with pq.ParquetFile(file) as parquet:
        rows = pa.RecordBatchReader.from_batches(parquet.schema_arrow, parquet.iter_batches())
        return table.publish(partition, content, rows, run_key)
