"""Puts audited rows into the published table, and the others into quarantine."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.value import canonical_json
from include.lifecycle.spec.value import sha256 as digest
from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import Output, Store


def published_table(dataset: str, store: Store) -> Table:
    """The Delta table of a dataset."""
    return Table(store, dataset)


def quarantine_table(dataset: str, store: Store) -> Table:
    """The Delta table of a dataset's rejected rows: row as JSON, rule, run, time; restricted."""
    return Table(store, dataset, restricted=True)


def scores_table(model: str, store: Store) -> Table:
    """The Delta table of a model's scores, partitioned as the model's rows are."""
    return Table(store, f"scores__{model}")


def content_label(spec: DatasetSpec, content: str) -> str:
    """What tells a partition's content apart: the hash of its rows, and of the policy on its privacy."""
    policy = policy_hash(spec)
    return content if policy is None else f"{content}-{policy}"


def policy_hash(spec: DatasetSpec) -> str | None:
    """12 hex digits of the policy that published rows obey; None without one.

    What is judged over a whole training set, such as k, belongs to the training and not in here.
    """
    treatments = {
        name: column.privacy.model_dump(mode="json")
        for name, column in spec.columns.items()
        if column.privacy is not None
    }
    if not treatments and spec.privacy is None:
        return None
    rules = spec.privacy and spec.privacy.model_dump(mode="json", include={"key", "untreated", "subject"})
    return digest(canonical_json([treatments, rules]))[:12]


def policy_of(label: str) -> str | None:
    """The policy that a content label names, or None."""
    return label.partition("-")[2] or None


def published_policies(dataset: str, store: Store, version: int | None = None) -> dict[str, str | None]:
    """The policy that each published partition obeys, at a version (default: the newest)."""
    labels = published_table(dataset, store).partitions(version)
    return {partition: policy_of(label) for partition, label in labels.items()}


def quarantine(table: Table, partition: str, bad: Output, file: Path, at: datetime, run_key: str) -> None:
    """Replace a partition's rows in quarantine with those of a Parquet file; `at` says since when.

    The time is no part of the content: the same rows again make no commit and keep their time.
    """
    timed = file.with_name(f"timed-{file.name}")
    with pq.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow.append(pa.field("at", pa.timestamp("us", tz="UTC")))
        with pq.ParquetWriter(timed, schema, compression="zstd") as writer:
            for batch in parquet.iter_batches():
                times = pa.repeat(pa.scalar(at, schema.field("at").type), len(batch))
                writer.write_batch(pa.RecordBatch.from_arrays([*batch.columns, times], schema=schema))
    table.publish(partition, bad.sha256, timed, run_key)
