"""Batches of text that say where they come from, so that an error can name the place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

ROWS = 8192
"""Rows of one batch."""
BYTES = 16 << 20
"""Bytes after which a batch ends early."""


def text_schema(names: Iterable[str], origin: str, part: str) -> pa.Schema:
    """Text columns that come from `origin`, such as a file; `part` of it names them: its `header`."""
    return pa.schema([(name, pa.string()) for name in names], {"origin": origin, "part": part})


def text_batch(schema: pa.Schema, columns: Iterable[Sequence[str | None]] = ()) -> pa.RecordBatch:
    """A batch of columns of text; without any, a batch without rows, which still shows the columns."""
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.RecordBatch.from_arrays(
        arrays or [pa.array([], pa.string()) for _ in schema.names], schema=schema
    )


def origin_of(schema: pa.Schema) -> tuple[str, str]:
    """Where a batch comes from, and which part of it names the columns."""
    said = schema.metadata or {}
    return said.get(b"origin", b"the source").decode(), said.get(b"part", b"source").decode()
