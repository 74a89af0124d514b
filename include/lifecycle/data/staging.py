"""Writes a source's batches to one file: the columns that the spec knows, every value still as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from include.lifecycle.data.sources.batches import origin_of
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.nearest import nearest
from include.lifecycle.spec.privacy import Keep
from include.lifecycle.store.objects import is_full

_GROUP = 122_880
"""Rows of a row group: what is in memory at a time, and the same whatever the batches were."""
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
    Raises Rejected for missing or new columns that the policy stops, and when there are no rows.
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
    if not rows:
        raise Rejected(
            f"{', '.join(list(origins)[:3]) or spec.name}: no rows; if the source had none on that day, "
            "leave the partition out, otherwise deliver the file again and clear this task"
        )
    if not groups.rows:  # all of them were left out
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
    """A Parquet file written in row groups of one size."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._count = 0
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._waiting:
            self._write(pa.Table.from_batches(self._waiting))
        if self._writer is not None:
            self._writer.close()

    def add(self, batch: pa.RecordBatch) -> None:
        """Write what fills a row group; the rest waits."""
        self._waiting.append(batch)
        self._count += batch.num_rows
        self.rows += batch.num_rows
        if self._count >= _GROUP:
            table = pa.Table.from_batches(self._waiting)
            whole = self._count - self._count % _GROUP
            for first in range(0, whole, _GROUP):
                self._write(table.slice(first, _GROUP))
            self._waiting, self._count = table.slice(whole).to_batches(), self._count - whole

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema)
        # In one piece: where pages end would otherwise depend on the batches.
        self._writer.write_table(table.combine_chunks(), row_group_size=_GROUP)
