"""How many callers may be connected, and how much is kept of what they send slowly or do not read?

Uvicorn itself has no bound for any of these.
"""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from include.serving.replies import encode
from include.serving.whole_replies import WholeReplies

MAX_CONNECTIONS = 900
"""Fewer than the 1,024 files that a process may have open where nobody says otherwise."""
MAX_HEAD = 64 << 10
MAX_PIPELINED = 100
MAX_UNREAD = 250 << 20
PATIENCE = 60.0
"""Seconds that a caller may neither send nor read what is due."""
_LARGE = 1 << 20


class BoundedConnection(HttpToolsProtocol):
    """One caller; who wants more than there is room for loses the connection."""

    _unheard = 0
    """Bytes since the last ones that were part of a body or ended a request."""
    _received = 0
    _look_again: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a caller, or send it away."""
        self._replies = WholeReplies(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, self._replies))
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse("503 Service Unavailable", "too many callers are connected; ask again in a second")
        else:
            self._look(None)

    def eof_received(self) -> None:
        """A caller who sends no more may still read what was answered; the connection closes after it."""
        self._replies.flush()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the caller."""
        super().connection_lost(exc)
        if self._look_again:
            self._look_again.cancel()

    def data_received(self, data: bytes) -> None:
        """Read; a head, or what follows a body, must end soon."""
        self._received += len(data)
        self._unheard += len(data)
        super().data_received(data)
        if self._unheard > MAX_HEAD and not self.transport.is_closing():
            self._refuse("431 Request Header Fields Too Large", f"headers: more than {MAX_HEAD >> 10} kB")

    def on_message_begin(self) -> None:
        """A request begins; few may wait for the one before them."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests wait on one connection")
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        self._unheard = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request ends."""
        self._unheard = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A reply was written; it is kept until it is read."""
        super().on_response_complete()
        if self._unread > _LARGE:
            callers = (each for each in self.connections if isinstance(each, BoundedConnection))
            if sum(each._unread for each in callers) > MAX_UNREAD:
                self.transport.abort()

    @property
    def _unread(self) -> int:
        return self.transport.get_write_buffer_size()

    def _look(self, before: tuple[int, int] | None) -> None:
        """Every now and then: leave a caller that we wait for and that did nothing since the look before."""
        now = (self._received, self._unread)
        is_due = self.cycle is None or self.cycle.more_body or self._unread
        if is_due and now == before:
            self.transport.abort()
        else:
            self._look_again = self.loop.call_later(PATIENCE, self._look, now)

    def _refuse(self, status: str, why: str) -> None:
        body = encode({"error": why})
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.transport.write(f"{head}Retry-After: 1\r\nConnection: close\r\n\r\n".encode() + body)
        self.transport.close()
