"""Work on copies of requests, done after the reply: a bounded queue and one thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

_log = logging.getLogger(__name__)
_ROWS = 10_000

Work = Callable[[], None]


class Copies:
    """Copies that wait for their turn; who offers one never waits for them."""

    def __init__(self, rows: int = _ROWS) -> None:
        self._limit, self._rows = rows, 0
        self._waiting: deque[tuple[int, Work]] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="copies", daemon=True)

    def start(self) -> None:
        """Do the work in the background from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is doing; what waits is forgotten."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(1.0)

    def offer(self, rows: int, work: Work) -> bool:
        """Have work on so many rows done; False when too many wait already.

        A copy with more rows than may wait is taken while no other one waits.
        """
        with self._changed:
            if self._rows and self._rows + rows > self._limit:
                return False
            self._rows += rows
            self._waiting.append((rows, work))
            self._changed.notify()
        return True

    def _run(self) -> None:
        while (copy := self._next()) is not None:
            rows, work = copy
            try:
                work()
            except Exception:
                _log.exception("a copy of a request was not scored")
            with self._changed:
                self._rows -= rows
            # Lets a request go first that came meanwhile: Python itself would do so after 5 ms only.
            time.sleep(0)

    def _next(self) -> tuple[int, Work] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopped)
            return None if self._stopped else self._waiting.popleft()
