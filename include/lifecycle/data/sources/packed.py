"""Opens files that may be packed, by the end of their name: .gz or .zst."""

from __future__ import annotations

import glob
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pydantic import ByteSize

from include.lifecycle.errors import Rejected

_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
_CHUNK = 1 << 20


def opened(file: Path) -> pa.NativeFile:
    """The unpacked bytes of a file; reading raises OSError where they are damaged."""
    return pa.input_stream(str(file), compression=_COMPRESSION.get(file.suffix))


def lines(file: Path, origin: str, longest: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, counted from 1; raises Rejected at a line longer than `longest` bytes."""
    with io.BufferedReader(opened(file), _CHUNK) as text:
        number = 0
        while line := text.readline(longest + 1):
            number += 1
            if len(line) > longest:
                raise Rejected(
                    f"{origin}: line {number} is longer than {longest // 1_000_000} MB, nothing was taken "
                    "from the file; look for a quote that is not closed, or a field that does not belong "
                    "there, deliver the file again, then clear this task"
                )
            yield number, line


def check_bytes(file: Path, origin: str, max_size: ByteSize) -> None:
    """Unpack a file to its end, checksum included.

    Raises OSError where it is damaged, Rejected when it is too large or has a NUL byte in it.
    """
    size, line = 0, 1
    with opened(file) as content:
        while chunk := content.read(_CHUNK):
            place = chunk.find(b"\0")
            if place >= 0:
                line += chunk.count(b"\n", 0, place)
                raise Rejected(
                    f"{origin}: a NUL byte in line {line} (byte {size + place + 1}), nothing was taken from "
                    "the file; it is damaged or not UTF-8 (UTF-16 looks like this): write it as UTF-8, then "
                    "clear this task"
                )
            line += chunk.count(b"\n")
            size += len(chunk)
            refuse_large(size, origin, max_size)


def refuse_large(size: int, origin: str, max_size: ByteSize) -> None:
    """Raise Rejected when a file is larger than its source may be."""
    if size > max_size:
        raise Rejected(
            f"{origin}: larger than source.max_size ({max_size.human_readable()}) unpacked; "
            "raise max_size if the file is right, then clear this task"
        )


def literal(file: Path) -> str:
    """A file's name in SQL, where it is not taken for a glob."""
    return "'" + glob.escape(str(file)).replace("'", "''") + "'"
