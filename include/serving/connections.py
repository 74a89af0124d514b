"""How many callers may be connected, and how much is kept of what they send slowly or do not read?

Uvicorn itself has no bound for any of these. What `at_once` takes of a connection's requests is answered
here; all others are uvicorn's.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from include.serving.at_once import Asked, AtOnce, Whole
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

    def __init__(self, *arguments: Any, at_once: AtOnce | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._at_once = at_once

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

    def on_headers_complete(self) -> None:
        """A head ended, and says who will answer."""
        asked = self._asked_at_once() if self._at_once else None
        if asked is None:
            super().on_headers_complete()
        else:
            self.cycle = cast(RequestResponseCycle, asked)

    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        self._unheard = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request ends."""
        self._unheard = 0
        super().on_message_complete()
        if isinstance(self.cycle, Asked):
            assert self._at_once is not None
            self._at_once.answer(self.cycle, partial(self._write, self.cycle))

    def on_response_complete(self) -> None:
        """A reply was written; it is kept until it is read."""
        super().on_response_complete()
        if self._unread > _LARGE:
            callers = (each for each in self.connections if isinstance(each, BoundedConnection))
            if sum(each._unread for each in callers) > MAX_UNREAD:
                self.transport.abort()

    def _asked_at_once(self) -> Asked | None:
        """The request that begins, if nothing before it waits and it needs no application."""
        assert self._at_once is not None
        is_free = self.cycle is None or self.cycle.response_complete
        if not is_free or self.flow.write_paused or self.expect_100_continue or self.transport.is_closing():
            return None
        if self.parser.get_method() != b"POST":
            return None
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        address = self.client[0] if self.client else ""
        return self._at_once.asked(self.url, dict(self.headers), address, keep_alive)

    def _write(self, asked: Asked, reply: Whole) -> None:
        status, headers, body = reply
        lines = [b"%s: %s\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        if not asked.keep_alive:
            lines.append(b"connection: close\r\n")
        self.transport.write(b"".join((STATUS_LINE[status], *lines, b"\r\n", body)))
        self._replies.flush()
        asked.response_complete = True
        if not asked.keep_alive:
            self.transport.close()
        self.on_response_complete()

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
