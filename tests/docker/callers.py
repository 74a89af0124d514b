"""Callers of a server that give up at the first trouble: a connection for each request, no retry."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Any, Self

from tests.serving.released import MODEL, ROW

CALLERS = 4
_PAUSE = 0.02
_PATIENCE = 30
"""Seconds until a caller calls a request lost."""


@dataclass
class Callers:
    """Some threads that ask all the time, while it is open."""

    host: str
    port: int
    key: str
    answered: dict[str, str] = field(default_factory=dict)
    """The version that answered, by request id."""
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """Seconds."""

    def __enter__(self) -> Self:
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, args=(number,)) for number in range(CALLERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    @property
    def versions(self) -> Counter[str]:
        """How many requests each version answered."""
        return Counter(self.answered.values())

    def ask(self, request_id: str = "") -> tuple[int, dict[str, Any]]:
        """One request over a connection of its own: status and answer; raises OSError or HTTPException."""
        connection = HTTPConnection(self.host, self.port, timeout=_PATIENCE)
        headers = {"Authorization": f"Bearer {self.key}", "Connection": "close"}
        if request_id:
            headers["X-Request-Id"] = request_id
        try:
            body = json.dumps({"instances": [ROW]})
            connection.request("POST", f"/models/{MODEL}/invocations", body, headers)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def _ask_on(self, caller: int) -> None:
        number = 0
        while not self._stopped.wait(_PAUSE):
            number += 1
            request_id, began = f"{id(self)}-{caller}-{number}", time.monotonic()
            try:
                status, reply = self.ask(request_id)
            except (OSError, HTTPException, ValueError) as error:
                self.failed.append(f"after {time.monotonic() - began:.1f} s: {error!r}")
                continue
            self.slowest = max(self.slowest, time.monotonic() - began)
            if status == 200:
                self.answered[request_id] = reply["version"]
            else:
                self.failed.append(f"{status} {reply}")
