"""Keeps every acknowledged prediction: on local disk before the reply, in Delta soon after, once.

A background thread for each model closes the segment being written about once a second and commits
everything closed in one Delta commit, which records the segments' writer and number as Delta's
own transaction identifier. After a crash between the commit and the deletion of the segments the
table itself says what it has.
"""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tenacity import RetryCallState, Retrying, stop_when_event_set, wait_exponential

from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import Store
from include.serving.logged_row import read_lines
from include.serving.metrics import Metrics
from include.serving.segments import Segments

_log = logging.getLogger(__name__)
_MAX_COMMIT_BYTES = 32 << 20
_LONGEST_PAUSE = 15.0


class HomeInUse(RuntimeError):
    """Another server writes to the same prediction log."""


class PredictionLog:
    """The logs of all models of one server."""

    def __init__(self, folder: Path, store: Store, metrics: Metrics, *, every: float = 1.0) -> None:
        self._folder, self._store, self._metrics, self._every = folder, store, metrics, every
        self._lock = threading.Lock()
        self._logs: dict[str, ModelLog] = {}
        for left_over in sorted(folder.iterdir()):
            if left_over.is_dir():
                self._open(left_over.name)

    def record(self, model: str, lines: bytes, rows: int) -> None:
        """Write the rows of one request to the operating system; raises OSError when it cannot."""
        log = self._logs.get(model) or self._open(model)
        log.segments.append(lines, rows)

    def flush(self, timeout: float) -> list[str]:
        """Wait until every row recorded so far is in Delta; returns the models that are not."""
        deadline = time.monotonic() + timeout
        with self._lock:
            logs = dict(self._logs)
        goals = {model: log.hurry() for model, log in logs.items()}
        return [model for model, goal in goals.items() if not logs[model].reached(goal, deadline)]

    def close(self, timeout: float) -> None:
        """Flush, and stop the threads; what the store does not take in time stays on disk."""
        for model in self.flush(timeout):
            _log.warning("%s: predictions not in Delta yet; the next start brings them there", model)
        for log in self._logs.values():
            log.stop()

    def _open(self, model: str) -> ModelLog:
        with self._lock:
            if model not in self._logs:
                table = Table(self._store, f"predictions__{model}")
                segments = Segments(self._folder / model)
                self._logs[model] = ModelLog(model, segments, table, self._metrics, self._every)
                self._metrics.backlog.labels(model).set_function(lambda: segments.backlog)
            return self._logs[model]


class ModelLog:
    """The log of one model, and the thread that brings it to Delta."""

    def __init__(self, model: str, segments: Segments, table: Table, metrics: Metrics, every: float) -> None:
        self.segments = segments
        self._model, self._table, self._every = model, table, every
        self._failures, self._scores = metrics.flush_failures.labels(model), metrics.scores
        self._hurry, self._stopped = threading.Event(), threading.Event()
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"flush-{model}", daemon=True)
        self._thread.start()

    def hurry(self) -> int:
        """Flush now; returns how many rows will then be safe."""
        self._hurry.set()
        return self.segments.appended

    def reached(self, rows: int, deadline: float) -> bool:
        """Wait until that many rows are safe, or until the deadline."""
        with self._progress:
            return self._progress.wait_for(
                lambda: self.segments.dropped >= rows, max(0.0, deadline - time.monotonic())
            )

    def stop(self) -> None:
        """End the thread after what it is doing, unless the store keeps it waiting."""
        self._stopped.set()
        self._hurry.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        retrying = Retrying(
            wait=wait_exponential(multiplier=0.5, max=_LONGEST_PAUSE),
            stop=stop_when_event_set(self._stopped),
            sleep=self._pause,
            before_sleep=self._complain,
            retry_error_callback=lambda state: None,
        )
        while not self._stopped.is_set():
            self._pause(self._every)
            retrying(self._flush)

    def _pause(self, seconds: float) -> None:
        self._hurry.wait(seconds)
        self._hurry.clear()

    def _complain(self, state: RetryCallState) -> None:
        self._failures.inc()
        error = state.outcome and state.outcome.exception()
        _log.error(
            "%s: %d predictions wait on disk, trying again: %s", self._model, self.segments.backlog, error
        )

    def _flush(self) -> None:
        self.segments.rotate()
        while batch := self.segments.closed(_MAX_COMMIT_BYTES):
            writer = batch[0].writer
            committed = self._table.appended_by(writer)
            fresh = [segment for segment in batch if segment.number > committed]
            rows, torn = read_lines([segment.file for segment in fresh])
            if len(rows):
                self._table.append_once(rows, writer, fresh[-1].number)
                self._scores.count(rows)
            if torn:
                self._set_aside(torn)
            self.segments.drop(batch)
            with self._progress:
                self._progress.notify_all()

    def _set_aside(self, torn: bytes) -> None:
        file = self.segments.folder / "unreadable"
        with file.open("ab") as opened:
            opened.write(torn.rstrip(b"\n") + b"\n")
        _log.error("%s: %d bytes of the log cannot be read; kept in %s", self._model, len(torn), file)


@contextmanager
def owned(folder: Path, patience: float = 20.0) -> Iterator[Path]:
    """Keep other servers from the folder of the log; it is free again when this process ends.

    Raises HomeInUse when another still has it after `patience` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        _wait_for(lock, folder, time.monotonic() + patience)
        yield folder


def _wait_for(lock: IO[str], folder: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise HomeInUse(
                    f"another server writes to {folder}: stop it, or set PERENNIAL_HOME to another folder"
                ) from None
            time.sleep(0.1)
