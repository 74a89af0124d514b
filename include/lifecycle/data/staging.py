"""Writes a source's batches to one file: the columns that the spec knows, every value still as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.lifecycle.data.sources.batches import origin_of
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.nearest import nearest
from include.lifecycle.spec.privacy import Keep
from include.lifecycle.store.objects import is_full

_GROUP = 122_880
"""Rows of a row group: what is in memory at a time, and the same whatever the batches were."""
_BYTES = 64 << 20
"""Bytes of text after which a row group ends early."""
_MEND = {"header": "file", "file": "file", "query": "query"}


@dataclass(frozen=True)
class Staged:
    """What was staged: rows that the source gave, and how many of them the treatment left out."""

    rows: int
    suppressed: int
    added: tuple[str, ...]
    """New columns of the source that were staged beside those of the spec."""


def _as_it_is(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def stage(
    spec: DatasetSpec,
    batches: Iterable[pa.RecordBatch],
    file: Path,
    treat: Callable[[pa.RecordBatch], pa.RecordBatch] = _as_it_is,
) -> Staged:
    """Write batches of text to a Parquet file: `spec.published`, and new columns where they are added.

    `treat` changes the values of a batch, or leaves rows out; it also sees the columns that are dropped.
    Raises Rejected for missing or new columns that the policy stops, and for a partition without rows
    where it may not be empty.
    """
    rows, chosen, origins = 0, _Columns(spec), dict[str, None]()
    try:
        with _Groups(file) as groups:
            for batch in batches:
                origins[origin_of(batch.schema)[0]] = None
                rows += batch.num_rows
                kept = treat(chosen.of(batch)).select(list(chosen.staged))
                if kept.num_rows:
                    groups.add(kept)
    except OSError as error:
        if is_full(error):
            raise Transient(f"no space left for {file}: free space, then clear this task") from None
        raise
    if not rows and spec.empty == "stop":
        raise Rejected(
            f"{', '.join(list(origins)[:3]) or spec.name}: no rows; if there may be none, write "
            f"empty: publish in {spec.name}.yaml, otherwise mend the source and clear this task"
        )
    if not groups.rows:  # there is none, or all of them were left out
        pq.write_table(pa.schema([(name, pa.string()) for name in chosen.staged]).empty_table(), file)
    return Staged(rows, rows - groups.rows, chosen.added)


class _Columns:
    """Which columns are taken: told by the spec and the first batch, checked for each place's first."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._spec = spec
        self._checked: pa.Schema | None = None
        self._known_added: tuple[str, ...] | None = None

    @property
    def added(self) -> tuple[str, ...]:
        """New columns that are staged, too."""
        return self._known_added or ()

    @property
    def staged(self) -> tuple[str, ...]:
        """The columns of the staged file."""
        return (*self._spec.published, *self.added)

    def of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The spec's and the added columns of a batch as text, empty where they may be missing."""
        if self._checked is None or not batch.schema.equals(self._checked, check_metadata=True):
            self._check(batch.schema)
            self._checked = batch.schema
        found = {name: place for place, name in enumerate(batch.schema.names)}
        dropped = [name for name in self._spec.columns if name not in self._spec.published and name in found]
        empty = pa.nulls(batch.num_rows, pa.string())
        columns = {
            name: batch.column(found[name]).cast(pa.string()) if name in found else empty
            for name in (*self.staged, *dropped)
        }
        return pa.RecordBatch.from_pydict(columns)

    def _check(self, schema: pa.Schema) -> None:
        found, (origin, part) = schema.names, origin_of(schema)
        place = f"{origin}: the {part}"
        if not found and part != "header":
            return  # no rows, hence no keys
        file, shown = f"{self._spec.name}.yaml", self._shown(found)
        mend = f"(found: {', '.join(shown) or 'nothing'}); mend the {_MEND.get(part, 'source')}"
        mend += f" or the columns in {file}"
        if missing := [name for name in self._needed() if name not in found]:
            raise Rejected(f"{place} lacks {missing}{nearest(missing[0], shown)} {mend}")
        if twice := [name for name in (*self._spec.columns, *self.added) if found.count(name) > 1]:
            raise Rejected(f"{place} names {twice} twice {mend}")
        new = [name for name in found if name not in self._spec.columns]
        if new and self._spec.schema_changes.new == "stop":
            raise Rejected(
                f"{place} has new columns {self._shown(new)}, and schema_changes.new is stop; add them to "
                f"{file}, or let schema_changes.new be ignore"
            )
        if self._spec.schema_changes.new == "add":
            self._add(new, place)

    def _add(self, new: list[str], place: str) -> None:
        if bad := [name for name in new if not re.fullmatch("[a-z][a-z0-9_]{0,62}", name)]:
            raise Rejected(
                f"{place} has new columns {self._shown(bad)}, which cannot be added: a name has "
                "small letters, digits and _ alone; rename them in the source, or let "
                "schema_changes.new be ignore"
            )
        if self._known_added is None:
            self._known_added = tuple(dict.fromkeys(new))
        if late := [name for name in new if name not in self.added]:
            raise Rejected(
                f"{place} has new columns {late}, which what came before it lacks; deliver all parts of the "
                "partition with the same columns, or let schema_changes.new be ignore"
            )

    def _needed(self) -> list[str]:
        """Columns that cannot be filled with nothing; key and event time never can."""
        if self._spec.schema_changes.missing == "stop":
            return list(self._spec.published)
        return [name for name in self._spec.published if name in (*self._spec.key, self._spec.event_time)]

    def _shown(self, found: list[str]) -> list[str]:
        """What was found; where data are personal only known names, since a header may be missing and
        the first row be in its place."""
        if any(item.privacy and not isinstance(item.privacy, Keep) for item in self._spec.columns.values()):
            return [name if name in self._spec.columns else "another" for name in found]
        return found


class _Groups:
    """A Parquet file whose row groups end after so many rows or bytes, wherever the batches end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._count = self._bytes = 0
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._waiting:
            self._write()
        if self._writer is not None:
            self._writer.close()

    def add(self, batch: pa.RecordBatch) -> None:
        """Write what fills a row group; the rest waits."""
        self.rows += batch.num_rows
        ends = _bytes_up_to(batch)
        first = before = 0
        while first < batch.num_rows:
            filling = int(np.searchsorted(ends, before + _BYTES - self._bytes))
            end = min(first + _GROUP - self._count, filling + 1, batch.num_rows)
            self._waiting.append(batch.slice(first, end - first))
            self._count += end - first
            self._bytes += int(ends[end - 1]) - before
            first, before = end, int(ends[end - 1])
            if self._count == _GROUP or self._bytes >= _BYTES:
                self._write()

    def _write(self) -> None:
        # In one piece: where pages end would otherwise depend on the batches.
        table = pa.Table.from_batches(self._waiting).combine_chunks()
        self._waiting, self._count, self._bytes = [], 0, 0
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table, row_group_size=_GROUP)


def _bytes_up_to(batch: pa.RecordBatch) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """By row, the bytes of text in it and in all rows of the batch before it."""
    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        sizes += pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
    return np.cumsum(sizes)
