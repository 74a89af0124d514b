"""Reads a CSV file: a header, then rows of as many values, in UTF-8, quoted by double quotes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ByteSize

from include.lifecycle.data.sources.batches import ROWS, text_batch, text_schema
from include.lifecycle.data.sources.packed import check_bytes, lines, literal, opened
from include.lifecycle.errors import Rejected
from include.lifecycle.store.scan import connect

LONGEST = 2_000_000
"""Bytes of the longest line, as in DuckDB."""
_REASONS = (
    r"^(?:Expected Number of Columns: \d+ Found: \d+|Value with unterminated quote found"
    r"|Maximum line size of \d+ bytes exceeded|Invalid unicode)"
)
# Nothing is guessed: DuckDB's detection takes lines of a CSV for comments, or skips them.
_READER = (
    "read_csv({file}, auto_detect=false, header=true, columns={columns}, delim=',', quote='\"', escape='\"')"
)


def csv_batches(file: Path, origin: str, max_size: ByteSize) -> Iterator[pa.RecordBatch]:
    """The rows of a CSV file as text; a field without anything in it is missing.

    Raises Rejected, duckdb.Error, pa.ArrowException or OSError where the file cannot be read whole.
    """
    check_bytes(file, origin, max_size)
    names = _header(file)
    schema = text_schema(names, origin, "header")
    yield text_batch(schema)
    if not names:
        return
    columns = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(names)))
    reader = _READER.format(file=literal(file), columns=f"{{{columns}}}")
    row = 0
    with connect() as db:
        for batch in db.sql(f"SELECT * FROM {reader}").to_arrow_reader(ROWS):
            if (place := _header_within(batch, names)) is not None:
                raise Rejected(_header_changed(file, origin, names, row + place + 1))
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
            row += batch.num_rows


def explain(file: Path, origin: str, error: Exception) -> str:
    """What is wrong with a CSV file that DuckDB could not read, without a value of its rows."""
    for number, line in lines(file, origin, LONGEST):
        try:
            line.decode()
        except UnicodeDecodeError as found:
            return (
                f"line {number}, byte {found.start + 1}: 0x{line[found.start]:02x} is not UTF-8, it looks "
                "like latin-1: write the file as UTF-8, as with `iconv -f latin1 -t utf-8`"
            )
    # DuckDB shows the whole line, which may hold what nobody should read in a log, and then says why.
    place = re.match(r"[A-Za-z ]+: (CSV Error on Line: \d+)\n", str(error))
    if place is None:
        return str(error).partition("Original Line")[0]
    reasons = re.findall(_REASONS, str(error), flags=re.MULTILINE)
    return f"{place[1]} {reasons[-1]}" if reasons else place[1]


def _header(file: Path) -> list[str]:
    with opened(file) as content:
        text = content.read(LONGEST).decode("utf-8-sig", errors="replace")
    try:
        return next(csv.reader(io.StringIO(text, newline="")), [])
    except csv.Error as error:
        raise OSError(f"the header: {error}") from None


def _header_within(batch: pa.RecordBatch, names: list[str]) -> int | None:
    """The first row most of whose values are names of columns: files of two kinds in one."""
    if len(names) < 2:
        return None
    known = pa.array(names, pa.string())
    suspects = pc.or_(pc.is_in(batch.column(0), known), pc.is_in(batch.column(1), known))
    places = np.flatnonzero(suspects.to_numpy(zero_copy_only=False))
    if not len(places):
        return None
    rows = batch.take(pa.array(places))
    hits = np.sum([pc.is_in(column, known).to_numpy(zero_copy_only=False) for column in rows.columns], axis=0)
    found = places[hits * 2 > len(names)]
    return int(found[0]) if len(found) else None


def _header_changed(file: Path, origin: str, names: list[str], row: int) -> str:
    number = next(
        (
            number
            for number, line in lines(file, origin, LONGEST)
            if number > row and len(set(names).intersection(_values(line))) * 2 > len(names)
        ),
        row + 1,
    )
    return (
        f"{origin}: line {number} is a header again, nothing was taken from the file; it looks like several "
        "files in one: deliver each as a file of its own, then clear this task"
    )


def _values(line: bytes) -> list[str]:
    return next(csv.reader([line.decode(errors="replace")]), [])
