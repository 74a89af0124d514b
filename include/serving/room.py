"""Is there room for another body? Memory for those that wait is bounded: who comes too many is told so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from include.serving.refusals import Busy

_BYTES = 250 << 20
"""Twenty-five of the greatest bodies that are taken."""


class Room:
    """Memory for bodies that are read or wait for their turn; used on the event loop alone."""

    def __init__(self, limit: int = _BYTES) -> None:
        self._limit, self._taken = limit, 0

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Keep room for a body of so many bytes; raises Busy when there is not enough left."""
        if self._taken + size > self._limit:
            raise Busy("too many rows wait to be answered; send this again in a second, or fewer at once")
        self._taken += size
        try:
            yield
        finally:
            self._taken -= size
