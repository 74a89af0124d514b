"""Callers who ask without pause, and go to the other server when one hangs up on them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from tests.lifecycle.tiny import MODEL
from tests.system.release_faults.looks import Looks

_CALLERS = 2
_EVERY = 0.02
"""Seconds between two requests of a caller."""


@dataclass(frozen=True)
class Answered:
    """A request, and who answered it."""

    sent: float
    """Seconds of the monotonic clock, when it was sent to the server that answered."""
    replied: float
    host: str
    version: str


class Callers:
    """Some callers from now on; a context manager. They ask servers that are ready, as a Service does."""

    def __init__(self, looks: Looks, rows: Sequence[dict[str, Any]], seed: int) -> None:
        self._looks, self._rows = looks, rows
        self.answered: list[Answered] = []
        self.unanswered: list[str] = []
        self.repeated = 0
        """Requests that were sent a second time, since a server hung up."""
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(f"{seed}-{number}",)) for number in range(_CALLERS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, name: str) -> None:
        draw, number = random.Random(name), 0
        with httpx.Client(timeout=20) as client:
            while not self._over.is_set():
                self._one(client, draw, f"{name}-{number}")
                number += 1
                time.sleep(_EVERY)

    def _one(self, client: httpx.Client, draw: random.Random, request_id: str) -> None:
        """Ask a server, and when it hangs up one that is ready by then."""
        row, tried, why = draw.choice(self._rows), set[str](), list[str]()
        while left := sorted(self._looks.ready - tried):
            host = draw.choice(left)
            tried.add(host)
            self.repeated += len(tried) - 1
            sent = time.monotonic()
            try:
                reply = client.post(
                    f"{self._looks.servers.url(host)}/models/{MODEL}/invocations",
                    json={"dataframe_records": [row]},
                    headers={"X-Request-Id": request_id},
                )
            except httpx.TransportError as error:
                why.append(f"{host} after {time.monotonic() - sent:.1f} s: {type(error).__name__} {error}")
                continue
            if not reply.is_success:
                why.append(f"{host}: {reply.status_code} {reply.text}")
                break
            version = reply.json()["version"]
            self.answered.append(Answered(sent, time.monotonic(), host, version))
            return
        self.unanswered.append(f"{request_id}: {', '.join(why) or 'no server is ready'}")
