"""Where do the rows that a training learns from lie? In memory, or in a file that is read in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from include.lifecycle.data.point_in_time import EVENT_TIME, KEY, LABEL
from include.lifecycle.errors import Rejected
from include.lifecycle.model.features import FeatureCode, compute_features

IDENTITY = {
    KEY: pa.string(),
    EVENT_TIME: pa.timestamp("us", tz="UTC"),
    LABEL: pa.float64(),
}
"""Which row it is; the columns before the features."""
BATCH = 1 << 22
"""Values of a batch, rows times columns (32 MiB as numbers); not the machine's to choose, since where
batches end is part of what is computed."""


class TrainingSet(Protocol):
    """Rows with `_key`, `_event_time`, `_label` and their features, oldest first."""

    @property
    def cache(self) -> Path | None:
        """Folder in which XGBoost keeps its pages; None where it keeps them in memory."""

    @property
    def texts(self) -> Sequence[str]:
        """The features that are categories."""

    @property
    def numbers(self) -> Sequence[str]:
        """All other features."""

    def __len__(self) -> int:
        """How many rows there are."""

    def between(
        self, since: datetime | None, until: datetime | None, columns: Sequence[str] | None = None
    ) -> Iterable[pd.DataFrame]:
        """The rows of a span of event time, its end not included, and some of their columns; may be
        gone through again and again."""

    def register(self, name: str, db: duckdb.DuckDBPyConnection) -> None:
        """Make the rows a view of that name."""


class InMemory:
    """A training set in memory: one batch."""

    cache = None

    def __init__(self, rows: pd.DataFrame, features: pd.DataFrame) -> None:
        self._table = pd.concat([rows[list(IDENTITY)], features], axis=1)
        self.texts = texts_of(features)
        self.numbers = [str(name) for name in features if name not in self.texts]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._table)

    def between(
        self, since: datetime | None, until: datetime | None, columns: Sequence[str] | None = None
    ) -> Iterable[pd.DataFrame]:
        """The rows of a span as one batch."""
        table = _between(self._table, since, until)
        return [table if columns is None else table[list(columns)]]

    def register(self, name: str, db: duckdb.DuckDBPyConnection) -> None:
        """Make the rows a view."""
        db.register(name, self._table)


@dataclass(frozen=True)
class OnDisk:
    """A training set in a Parquet file, of which one batch at a time is in memory."""

    file: Path

    @classmethod
    def write(
        cls,
        rows: Path,
        file: Path,
        code: FeatureCode,
        inputs: Mapping[str, str],
        name: str,
        batch: int = BATCH,
    ) -> OnDisk:
        """Compute the features of rows in a Parquet file, batch by batch.

        Raises Rejected for bad code, `name` being its file's.
        """
        chunks = _chunks(rows, max(1, batch // max(1, len(inputs))))
        _write(file, (_computed(chunk, code, inputs, name) for chunk in chunks), name)
        return cls(file)

    @property
    def cache(self) -> Path:
        """Beside the file."""
        return self.file.parent

    @cached_property
    def texts(self) -> Sequence[str]:
        """The features that are categories."""
        return [field.name for field in self._features if field.type == pa.string()]

    @cached_property
    def numbers(self) -> Sequence[str]:
        """All other features."""
        return [field.name for field in self._features if field.type != pa.string()]

    def __len__(self) -> int:
        """How many rows there are."""
        return int(pq.read_metadata(self.file).num_rows)

    def between(
        self, since: datetime | None, until: datetime | None, columns: Sequence[str] | None = None
    ) -> Iterable[pd.DataFrame]:
        """The rows of a span, batch by batch."""
        return _Scan(self.file, since, until, columns)

    def register(self, name: str, db: duckdb.DuckDBPyConnection) -> None:
        """Make the rows a view."""
        db.read_parquet(str(self.file)).create_view(name)

    @cached_property
    def _features(self) -> list[pa.Field]:
        return [field for field in pq.read_schema(self.file) if field.name not in IDENTITY]


@dataclass(frozen=True)
class _Scan:
    file: Path
    since: datetime | None
    until: datetime | None
    columns: Sequence[str] | None

    def __iter__(self) -> Iterator[pd.DataFrame]:
        columns = None if self.columns is None else [*self.columns, EVENT_TIME]
        # Group by group, since Arrow's own scanners keep what they have read until the file's end.
        with pq.ParquetFile(self.file) as file:
            for group in range(file.num_row_groups):
                times = file.metadata.row_group(group).column(list(IDENTITY).index(EVENT_TIME)).statistics
                if not _overlap(self.since, self.until, times.min, times.max):
                    continue
                batch = _between(file.read_row_group(group, columns).to_pandas(), self.since, self.until)
                if len(batch):
                    yield batch if self.columns is None else batch[list(self.columns)]


def sample_of(table: TrainingSet, size: int, seed: int) -> pd.DataFrame:
    """The features of that many rows, drawn with a seed, oldest first; of all where there are fewer."""
    draw = np.random.default_rng(seed)
    chosen = np.sort(draw.choice(len(table), min(size, len(table)), replace=False))
    found, start = [], 0
    for batch in table.between(None, None, [*table.texts, *table.numbers]):
        end = start + len(batch)
        found.append(batch.iloc[chosen[(chosen >= start) & (chosen < end)] - start])
        start = end
    return pd.concat(found, ignore_index=True)


def texts_of(features: pd.DataFrame) -> list[str]:
    """The features that are texts."""
    return [str(name) for name in features if features[name].dtype == object]


def _between(table: pd.DataFrame, since: datetime | None, until: datetime | None) -> pd.DataFrame:
    if since is not None:
        table = table[table[EVENT_TIME] >= since]
    if until is not None:
        table = table[table[EVENT_TIME] < until]
    return table


def _overlap(since: datetime | None, until: datetime | None, first: datetime, last: datetime) -> bool:
    return (since is None or last >= since) and (until is None or first < until)


def _chunks(file: Path, size: int) -> Iterator[pa.Table]:
    """The rows of a file, always that many but in the end, however the file is grouped."""
    with pq.ParquetFile(file) as source:
        left = source.schema_arrow.empty_table()
        for group in range(source.num_row_groups):
            left = pa.concat_tables([left, source.read_row_group(group)])
            while len(left) >= size:
                yield left.slice(0, size)
                left = left.slice(size)
        if len(left):
            yield left


def _computed(
    found: pa.Table, code: FeatureCode, inputs: Mapping[str, str], name: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = found.to_pandas()
    return rows[list(IDENTITY)], compute_features(code, rows, inputs, name)


def _write(file: Path, batches: Iterable[tuple[pd.DataFrame, pd.DataFrame]], name: str) -> None:
    """One row group a batch: whoever reads the file gets the batches as they were."""
    writer: pq.ParquetWriter | None = None
    try:
        for rows, features in batches:
            texts = texts_of(features)
            kinds = {str(item): pa.string() if item in texts else pa.float64() for item in features}
            schema = pa.schema(IDENTITY | kinds)
            if writer is None:
                writer = pq.ParquetWriter(file, schema, compression="zstd")
            elif not writer.schema.equals(schema):
                raise Rejected(_unequal(name, writer.schema, schema))
            table = pd.concat([rows, features.astype(dict.fromkeys(set(kinds) - set(texts), float))], axis=1)
            writer.write_table(pa.Table.from_pandas(table, schema, preserve_index=False), len(table))
    finally:
        if writer is not None:
            writer.close()


def _unequal(name: str, first: pa.Schema, later: pa.Schema) -> str:
    differ = sorted({field.name for field in set(first) ^ set(later)})
    return (
        f"{name}: {', '.join(differ)} is not in every batch of rows the same kind of feature; return the "
        "same features, texts or numbers, whatever the rows"
    )
