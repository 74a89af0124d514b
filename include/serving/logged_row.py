"""One row of the prediction log: as a JSON line in a segment, as a row in Delta."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.json as pj

from include.lifecycle.release.document import Release
from include.lifecycle.store.lake import PARTITION
from include.serving.rows import Rows

_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("key", pa.string()),
        ("event_time", pa.timestamp("us", "UTC")),
        ("model", pa.string()),
        ("version", pa.string()),
        ("arm", pa.string()),
        ("version_as_of", pa.timestamp("us", "UTC")),
        ("score", pa.float64()),
        ("inputs", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
    ]
)
_encoder = msgspec.json.Encoder()


class LoggedRow(msgspec.Struct, gc=False):
    """What is kept of one prediction; `inputs` is JSON text of the model's input columns."""

    request_id: str
    key: str | None
    event_time: datetime
    model: str
    version: str
    arm: str
    version_as_of: datetime
    score: float
    inputs: str
    at: datetime


_decoder = msgspec.json.Decoder(LoggedRow)


def lines_of(
    names: Sequence[str], model: str, release: Release, arm: str, rows: Rows, scores: Sequence[float]
) -> bytes:
    """Predictions as JSON lines; `names` says for each row which request it is of."""
    now = datetime.now(UTC)
    inputs = _inputs_type(tuple(rows.inputs))
    logged = []
    for number, (score, values) in enumerate(
        zip(scores, zip(*rows.inputs.values(), strict=True), strict=True)
    ):
        logged.append(
            LoggedRow(
                request_id=names[number],
                key=rows.keys[number] if rows.keys else None,
                event_time=(rows.event_times and rows.event_times[number]) or now,
                model=model,
                version=release.version,
                arm=arm,
                version_as_of=release.as_of,
                score=score,
                inputs=_encoder.encode(inputs(*values)).decode(),
                at=now,
            )
        )
    return _encoder.encode_lines(logged)


@cache
def _inputs_type(names: tuple[str, ...]) -> type[msgspec.Struct]:
    """What the inputs of a row are written from, in half the time that a dict takes."""
    fields = {f"field_{place}": name for place, name in enumerate(names)}
    return msgspec.defstruct("Inputs", [(field, Any) for field in fields], rename=fields, gc=False)


def read_lines(files: Sequence[Path]) -> tuple[pa.Table, bytes]:
    """The rows of segments with the partition each belongs to, and the lines that cannot be read.

    Lines cannot be read when a process was killed while it wrote them: nobody got their reply.
    """
    content = b"".join(file.read_bytes() for file in files)
    torn = b""
    try:
        rows = _parse(content)
    except pa.ArrowInvalid:
        readable, torn = _sort_out(content)
        rows = _parse(readable)
    day = rows["event_time"].cast(pa.date32()).cast(pa.string())
    return rows.append_column(PARTITION, day), torn


def _parse(content: bytes) -> pa.Table:
    """JSON lines as a table, parsed in C++: the threads that answer are not held up."""
    if not content:
        return _SCHEMA.empty_table()
    return pj.read_json(
        pa.BufferReader(content),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(content) + 1),
        parse_options=pj.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="error"),
    )


def _sort_out(content: bytes) -> tuple[bytes, bytes]:
    good, torn = [], []
    for line in content.splitlines(keepends=True):
        try:
            _decoder.decode(line)
            good.append(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            torn.append(line)
    return b"".join(good), b"".join(torn)
