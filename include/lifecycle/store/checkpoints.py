"""What a long training has finished so far, kept in the store until its receipt is written.

A checkpoint is opaque here; a training keeps its trees in it: cut points of features, as numbers, and
the leaves' weights. No row, no key and no text of a category: the encoder is fitted again from the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from include.lifecycle.errors import Transient
from include.lifecycle.spec.value import sha256
from include.lifecycle.store.objects import Store

_FOLDER = "checkpoints"
_KEPT = 2
"""Checkpoints that a fit keeps: the newest, and the one before it should the newest be damaged."""


class StoredCheckpoints:
    """The checkpoints of one run, written when `every` has passed since the last one was.

    What is not written yet is written when `told_to_end` answers that the process is to end.
    """

    def __init__(
        self, run_key: str, store: Store, every: timedelta, told_to_end: Callable[[], bool] = lambda: False
    ) -> None:
        self._run_key = run_key
        self._store = store
        self._every = every
        self._told_to_end = told_to_end
        self._waiting: dict[str, tuple[int, bytes]] = {}
        self._written = time.monotonic()

    def load(self, fit: str) -> bytes | None:
        """The newest valid state of a fit, or None; a damaged one, or one of another run, is passed by."""
        for path in reversed(_paths(self._run_key, fit, self._store)):
            if (state := _unsealed(path, self._store.get(path))) is not None:
                return state
        return None

    def save(self, fit: str, segment: int, state: bytes) -> None:
        """Take the state of a fit at the end of a segment, and write it when it is time to.

        A store that does not answer stops no training: the end of the next segment tries again.
        """
        self._waiting[fit] = (segment, state)
        if time.monotonic() - self._written >= self._every.total_seconds():
            with suppress(Transient):
                self._write()

    def after_round(self, fit: str, trees: int) -> None:
        """Raises Transient, everything finished being written, once the process is told to end.

        `trees` is how many the fit had when its last segment ended.
        """
        if self._told_to_end():
            self._write()
            raise Transient(f"terminated: will go on from tree {trees} of the {fit} fit")

    def _write(self) -> None:
        for fit, (segment, state) in list(self._waiting.items()):
            path = checkpoint_path(self._run_key, fit, segment)
            self._store.replace(path, _sealed(path, state))
            del self._waiting[fit]
            for older in _paths(self._run_key, fit, self._store)[:-_KEPT]:
                self._store.remove(older)
        self._written = time.monotonic()


def checkpoint_path(run_key: str, fit: str, segment: int) -> str:
    """Where a checkpoint lies in the store."""
    return f"{_FOLDER}/{run_key}/{fit}-{segment:06}"


def checkpointed_run_keys(store: Store) -> list[str]:
    """The run keys that have checkpoints: in work, stopped half-way, or done by a process that died since."""
    return sorted({path.split("/")[1] for path in store.list(_FOLDER)})


def remove_checkpoints(run_key: str, store: Store) -> None:
    """Remove the checkpoints of a run; safe to run again."""
    for path in store.list(f"{_FOLDER}/{run_key}"):
        store.remove(path)


def _paths(run_key: str, fit: str, store: Store) -> list[str]:
    """The checkpoints of a fit, the newest last."""
    folder = f"{_FOLDER}/{run_key}"
    return [path for path in store.list(folder) if path.startswith(f"{folder}/{fit}-")]


def _sealed(path: str, state: bytes) -> bytes:
    """The path is part of the hash, so that a checkpoint copied from another run is not taken for ours."""
    return f"{_digest(path, state)}\n".encode() + state


def _unsealed(path: str, content: bytes | None) -> bytes | None:
    digest, _, state = (content or b"").partition(b"\n")
    return state if digest == _digest(path, state).encode() else None


def _digest(path: str, state: bytes) -> str:
    return sha256(f"{path}\n".encode() + state)
