"""Looks all the time at what servers, ledger and release document say, and remembers it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from include.lifecycle.errors import Transient
from include.lifecycle.release.document import read_release
from include.lifecycle.store.ledger import Entry
from tests.lifecycle.tiny import MODEL, Project
from tests.serving.running import wait_until
from tests.system.release_faults.processes import HOSTS, Servers, model_at

_EVERY = 0.05


@dataclass(frozen=True)
class Look:
    """What one server, or the release document, said."""

    began: float
    ended: float
    """Seconds of the monotonic clock."""
    who: str
    seq: int
    """The ledger entry that is followed."""
    champion: str | None


@dataclass(frozen=True)
class Head:
    """How far the ledger was."""

    began: float
    ended: float
    seq: int


@dataclass(frozen=True)
class Life:
    """When a server's process began, or was seen to be dead."""

    at: float
    who: str
    begins: bool


class Looks:
    """Looks from now on, by a thread for each server and one for the store; a context manager."""

    def __init__(self, servers: Servers, world: Project) -> None:
        self.servers, self._world = servers, world
        self.ready: frozenset[str] = frozenset()
        """The servers that said they are, at the last look."""
        self.lives = [Life(time.monotonic(), host, True) for host in HOSTS]
        self.looks: list[Look] = []
        self.heads: list[Head] = []
        self.entries: list[Entry] = []
        """The ledger, as it was read bit by bit."""
        self._over, self._lock = threading.Event(), threading.Lock()
        works: list[Callable[[], None]] = [lambda host=host: self._server(host) for host in HOSTS]  # type: ignore[misc]
        self._threads = [threading.Thread(target=work) for work in (*works, self._store)]
        self._failed: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.entries and self.ready == set(HOSTS), "both servers are seen to be ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def kill(self, host: str) -> None:
        """Kill a server, and wait until it is seen to be gone."""
        self.servers.kill(host)
        self.lives.append(Life(time.monotonic(), host, False))
        while host in self.ready:
            time.sleep(0.01)

    def start(self, host: str) -> None:
        """Start a server that was killed."""
        self.lives.append(Life(time.monotonic(), host, True))
        self.servers.start(host)

    def raise_failure(self) -> None:
        """Raise what a look found to be wrong with the ledger."""
        if self._failed:
            raise self._failed[0]

    def _server(self, host: str) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._over.wait(_EVERY):
                began = time.monotonic()
                told = model_at(client, self.servers.url(host))
                with self._lock:
                    self.ready = self.ready | {host} if told else self.ready - {host}
                if told:
                    version = str(told["version"])
                    self.looks.append(Look(began, time.monotonic(), host, int(str(told["seq"])), version))

    def _store(self) -> None:
        while not self._over.wait(_EVERY):
            with suppress(Transient):
                try:
                    self._look_at_store()
                except Transient:
                    raise
                except Exception as error:
                    self._failed.append(error)
                    return

    def _look_at_store(self) -> None:
        began = time.monotonic()
        self.entries = self._world.ledger.entries(known=self.entries)
        self.heads.append(Head(began, time.monotonic(), len(self.entries) - 1))
        began = time.monotonic()
        document = read_release(MODEL, self._world.store)
        if document is not None:
            champion = document.champion.version if document.champion else None
            self.looks.append(Look(began, time.monotonic(), "document", document.seq, champion))
