"""A model's write-ahead log: numbered files of JSON lines, each row on disk before its reply.

A file is named `<writer>-<number>.jsonl`; the writer is one process. Lines reach the operating
system before the reply, so that they outlive the process; there is no fsync, so that a loss of
power may take the newest.
"""

from __future__ import annotations

import os
import re
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"(?P<writer>[0-9a-f]{32})-(?P<number>\d{9})\.jsonl")
_MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Segment:
    """A file that gets no more rows."""

    file: Path
    writer: str
    number: int
    rows: int
    size: int


class Segments:
    """The files of one model; append from any thread, rotate and drop from one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer = uuid.uuid4().hex
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._closed = sorted(_left_over(folder), key=_order)
        self._number = 0
        self._descriptor: int | None = None
        self._rows = self._size = 0
        self._appended = self._backlog = sum(segment.rows for segment in self._closed)

    def append(self, lines: bytes, rows: int) -> None:
        """Write whole lines in one write; raises OSError, and nothing stays, when they do not fit."""
        with self._lock:
            if self._descriptor is None:
                self._descriptor = self._open_next()
            written = os.write(self._descriptor, lines)
            if written != len(lines):
                os.ftruncate(self._descriptor, self._size)
                raise OSError(f"{self.folder}: only {written} of {len(lines)} bytes fit: no space left")
            self._size += written
            self._rows += rows
            self._appended += rows
            self._backlog += rows
            if self._size > _MAX_BYTES:
                self._close()

    def rotate(self) -> None:
        """Close the file that is being written, if it has rows."""
        with self._lock:
            if self._rows:
                self._close()

    def closed(self, max_bytes: int) -> list[Segment]:
        """The oldest closed files of one writer: one at least, more while they fit in `max_bytes`."""
        with self._lock:
            waiting = list(self._closed)
        batch: list[Segment] = []
        for segment in waiting:
            size = sum(item.size for item in batch) + segment.size
            if batch and (segment.writer != batch[0].writer or size > max_bytes):
                break
            batch.append(segment)
        return batch

    def drop(self, segments: list[Segment]) -> None:
        """Delete files whose rows are safe elsewhere."""
        for segment in segments:
            segment.file.unlink(missing_ok=True)
        with self._lock:
            self._closed = [segment for segment in self._closed if segment not in segments]
            self._backlog -= sum(segment.rows for segment in segments)

    @property
    def appended(self) -> int:
        """Rows written so far, those found at the start included."""
        return self._appended

    @property
    def backlog(self) -> int:
        """Rows that are only here."""
        return self._backlog

    @property
    def dropped(self) -> int:
        """Rows that are safe elsewhere."""
        with self._lock:
            return self._appended - self._backlog

    def _open_next(self) -> int:
        file = self.folder / f"{self._writer}-{self._number + 1:09d}.jsonl"
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        self._number += 1
        self._rows = self._size = 0
        return descriptor

    def _close(self) -> None:
        assert self._descriptor is not None
        os.close(self._descriptor)
        file = self.folder / f"{self._writer}-{self._number:09d}.jsonl"
        self._closed.append(Segment(file, self._writer, self._number, self._rows, self._size))
        self._descriptor, self._rows = None, 0


def _left_over(folder: Path) -> list[Segment]:
    """The files that a process before this one did not bring to Delta."""
    found = []
    for file in folder.iterdir():
        if name := _NAME.fullmatch(file.name):
            content = file.read_bytes()
            found.append(
                Segment(file, name["writer"], int(name["number"]), content.count(b"\n"), len(content))
            )
    return found


def _order(segment: Segment) -> tuple[str, int]:
    return segment.writer, segment.number
