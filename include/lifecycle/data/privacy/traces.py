"""Finds the traces of one person in files: rows of Parquet, and text anywhere else."""

from __future__ import annotations

import html
import json
import mmap
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from include.lifecycle.data.literals import quoted, text
from include.lifecycle.data.privacy.spelling import spelled, spelling
from include.lifecycle.spec.dataset import ColumnType
from include.lifecycle.store.scan import connect

_PARQUET = b"PAR1"
_KEYS = ("_key", "key")
"""What gate rows and logged predictions call the key of a model's row."""
_DOCUMENTS = ("row", "inputs")
"""Columns that hold a whole row as JSON: of the quarantine, and of the prediction log."""


@dataclass(frozen=True)
class Person:
    """Who is looked for: the column that tells, and what it says of them; it does not show when printed."""

    column: str
    kind: ColumnType
    values: frozenset[str] = field(repr=False)
    keys: frozenset[str] = field(default=frozenset(), repr=False)
    """Keys of the person's rows."""

    def rows_of(self, file: Path) -> str:
        """SQL that is true for the person's rows of a Parquet file; `wanted` and `keys` are tables."""
        tests = []
        names = pq.read_schema(file).names
        for name in names:
            said = f"CAST({quoted(name)} AS VARCHAR)"
            if name == self.column:
                tests.append(_is_wanted(said))
            elif self.column not in names and name in _KEYS:
                tests.append(f"{said} IN (FROM keys)")
            elif self.column not in names and name in _DOCUMENTS:
                tests.append(_is_wanted(_in_document(name, self.column)))
        return f"coalesce({' OR '.join(tests) or 'false'}, false)"

    def is_in(self, file: Path) -> bool:
        """Whether a file holds a row, or the text, of the person."""
        if not is_parquet(file):
            return self._is_in_text(file)
        query = f"SELECT 1 FROM read_parquet({text(str(file))}) WHERE {self.rows_of(file)} LIMIT 1"
        return bool(self._db.execute(query).fetchall())

    def count_in(self, file: Path) -> int:
        """How many rows of a Parquet file are the person's."""
        query = f"SELECT count(*) FROM read_parquet({text(str(file))}) WHERE {self.rows_of(file)}"
        return int(self._db.execute(query).fetchall()[0][0])

    def without(self, file: Path, rest: Path) -> int:
        """Write a Parquet file without the person's rows, in its order and schema; returns their number."""
        source = pq.ParquetFile(file)
        gone = 0
        with source, pq.ParquetWriter(rest, source.schema_arrow, compression="zstd") as to:
            where = self.rows_of(file)
            for batch in source.iter_batches():
                self._db.register("batch", pa.Table.from_batches([batch]))
                found = self._db.sql(f"SELECT {where} AS found FROM batch").to_arrow_table().column("found")
                stays = [not item for item in found.to_pylist()]
                gone += stays.count(False)
                to.write_batch(batch.filter(pa.array(stays, pa.bool_())))
        return gone

    def row_keys(self, file: Path, key: str) -> set[str]:
        """The keys of the person's rows in a Parquet file that has the key's column, or rows as JSON."""
        names = pq.read_schema(file).names
        if key in names:
            what = f"CAST({quoted(key)} AS VARCHAR)"
        elif "row" in names:
            what = _in_document("row", key)
        else:
            return set()
        query = f"SELECT DISTINCT {what} FROM read_parquet({text(str(file))}) WHERE {self.rows_of(file)}"
        return {str(row[0]) for row in self._db.execute(query).fetchall() if row[0] is not None}

    def _is_in_text(self, file: Path) -> bool:
        if file.stat().st_size == 0:
            return False
        words = {form for value in self._spellings for form in _written(value)}
        pattern = rb"(?<!\w)(?:" + b"|".join(re.escape(word) for word in sorted(words)) + rb")(?!\w)"
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return re.search(pattern, content) is not None

    @cached_property
    def _db(self) -> duckdb.DuckDBPyConnection:
        """One for all files: opening it takes longer than looking through most of them."""
        db = connect()
        db.execute(f"CREATE TEMP MACRO spelled(v) AS {spelling(self.kind)}")
        for name, words in {"wanted": self._spellings, "keys": self.keys}.items():
            rows = pa.table({"v": pa.array(sorted(words), pa.string())})
            db.register("words", rows)
            db.execute(f"CREATE TEMP TABLE {name} AS FROM words")
            db.unregister("words")
        return db

    @cached_property
    def _spellings(self) -> set[str]:
        """The values as they were given, and as a column of their type says them."""
        return {*self.values, *(word for word in spelled(sorted(self.values), self.kind) if word)}


def is_parquet(file: Path) -> bool:
    """Whether a file is Parquet."""
    with file.open("rb") as opened:
        return opened.read(len(_PARQUET)) == _PARQUET


def _is_wanted(said: str) -> str:
    """Whether a column or a document says the person, in whatever spelling of the type."""
    return f"({said} IN (FROM wanted) OR spelled({said}) IN (FROM wanted))"


def _in_document(column: str, name: str) -> str:
    return f"json_extract_string({quoted(column)}, {text('$.' + json.dumps(name))})"


def _written(value: str) -> set[bytes]:
    """A value as JSON and HTML write it."""
    as_json = (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    return {form.encode() for form in (value, html.escape(value), *as_json)}
