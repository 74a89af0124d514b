"""Reads lines of JSON objects; numbers and nested values stay as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
from pydantic import ByteSize

from include.lifecycle.data.sources.batches import BYTES, ROWS, text_batch, text_schema
from include.lifecycle.data.sources.packed import check_bytes, lines
from include.lifecycle.errors import Rejected

LONGEST = 16_000_000
"""Bytes of the longest line."""
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_Row = dict[str, msgspec.Raw]
_BOM = b"\xef\xbb\xbf"


def json_batches(file: Path, origin: str, max_size: ByteSize, part: str = "file") -> Iterator[pa.RecordBatch]:
    """The rows of a file of JSON lines as text; its columns are the keys of all its objects.

    Raises Rejected or OSError where the file cannot be read whole.
    """
    check_bytes(file, origin, max_size)
    # Read twice: the columns must be known before the first row is handed on.
    names = dict.fromkeys(name for row, _ in _rows(file, origin) for name in row)
    schema = text_schema(names, origin, part)
    yield text_batch(schema)
    some, size = list[_Row](), 0
    for row, length in _rows(file, origin):
        some.append(row)
        size += length
        if len(some) == ROWS or size >= BYTES:
            yield _batch(schema, some)
            some, size = [], 0
    if some:
        yield _batch(schema, some)


def _batch(schema: pa.Schema, rows: list[_Row]) -> pa.RecordBatch:
    return text_batch(schema, ([_text(row.get(name)) for row in rows] for name in schema.names))


def _rows(file: Path, origin: str) -> Iterator[tuple[_Row, int]]:
    """Each object, and the bytes of its line."""
    for number, line in lines(file, origin, LONGEST):
        content = line.removeprefix(_BOM).strip()
        if not content:
            continue
        try:
            content.decode()
            yield _OBJECT.decode(content), len(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Rejected(
                f"{origin}: line {number} is not a JSON object in UTF-8, nothing was taken from it "
                f"({str(error).split(' - ')[0]}); deliver it again, then clear this task"
            ) from None


def _text(value: msgspec.Raw | None) -> str | None:
    """A JSON value as text: a string without its quotes, everything else as it was written."""
    written = b"null" if value is None else bytes(value)
    if written == b"null":
        return None
    if written[:1] != b'"':
        return written.decode()
    return msgspec.json.decode(written, type=str) if b"\\" in written else written[1:-1].decode()
