"""How many callers may be connected, and how much is kept of what they send slowly or do not read?

Uvicorn itself has no bound for any of these. What `at_once` takes of a connection's requests is answered
here; all others are uvicorn's.
"""

from __future__ import annotations

import asyncio
import select
import socket
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
PATIENCE = 75.0
"""Seconds that a caller may neither send nor read what is due, or keep a connection that is not used: more
than the minute of most load balancers, so that none of them asks again on one that closes."""
UNUSED = 5.0
"""Seconds after which a connection that is not used makes room for another caller."""
_LARGE = 1 << 20


class BoundedConnection(HttpToolsProtocol):
    """One caller; who wants more than there is room for loses the connection."""

    _unheard = 0
    """Bytes since the last ones that were part of a body or ended a request."""
    _used_at = 0.0
    """When its caller last sent something or was answered, of the loop's clock."""
    _look_again: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, at_once: AtOnce | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._at_once = at_once

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a caller, or send it away."""
        self._replies = WholeReplies(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, self._replies))
        self._used_at = self.loop.time()
        if len(self.connections) > MAX_CONNECTIONS and not self._made_room():
            self._refuse("503 Service Unavailable", "too many callers are connected; ask again in a second")
        else:
            self._look(None)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A caller who sends no more may still read what it asked for; the connection closes after it."""
        self._replies.flush()
        if not self._waits:
            return False
        self.cycle.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the caller."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # which uvicorn does not for a connection that was reset
        if self._look_again:
            self._look_again.cancel()

    def data_received(self, data: bytes) -> None:
        """Read; a head, or what follows a body, must end soon."""
        self._used_at = self.loop.time()
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
        self._used_at = self.loop.time()
        super().on_response_complete()
        if self._unread > _LARGE:
            callers = (each for each in self.connections if isinstance(each, BoundedConnection))
            if sum(each._unread for each in callers) > MAX_UNREAD:
                self.transport.abort()

    def _asked_at_once(self) -> Asked | None:
        """The request that begins, if nothing before it waits and it needs no application."""
        assert self._at_once is not None
        if not self._is_free or self.flow.write_paused or self.transport.is_closing():
            return None
        if self.expect_100_continue or self.parser.get_method() != b"POST":
            return None
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        address = self.client[0] if self.client else ""
        return self._at_once.asked(self.url, dict(self.headers), address, keep_alive)

    def _write(self, asked: Asked, reply: Whole) -> None:
        status, headers, body = reply
        lines = [b"%s: %s\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        if not asked.keep_alive:
            lines.append(b"connection: close\r\n")
        self._replies.write_now(b"".join((STATUS_LINE[status], *lines, b"\r\n", body)))
        asked.response_complete = True
        self._used_at = self.loop.time()
        if not asked.keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.on_response_complete()

    @property
    def _unread(self) -> int:
        return self.transport.get_write_buffer_size()

    @property
    def _is_free(self) -> bool:
        """Whether every request of which the head was read is answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def _waits(self) -> bool:
        """Whether a whole request is being answered."""
        return not self._is_free and not self.cycle.more_body

    def _made_room(self) -> bool:
        """Whether another's connection, the one that was not used for longest, closes for this one."""
        before = self.loop.time() - UNUSED
        others = [
            each for each in self.connections if isinstance(each, BoundedConnection) and each is not self
        ]
        unused = sorted((each for each in others if each._used_at < before), key=lambda each: each._used_at)
        longest = next((each for each in unused if each._is_idle), None)
        if longest is None:
            return False
        longest.transport.close()
        return True

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is asked and nothing due; what was sent may not be read yet after a long turn."""
        is_done = self._is_free and not self._unheard and not self._unread
        is_open = not self.transport.is_closing()
        return is_done and is_open and not _has_input(self.transport.get_extra_info("socket"))

    def _look(self, before: tuple[float, int] | None) -> None:
        """Every now and then: leave a caller that waits for nothing and did nothing since the look before."""
        now = (self._used_at, self._unread)
        if now == before and (not self._waits or self._unread):
            self.transport.abort()
        else:
            self._look_again = self.loop.call_later(PATIENCE, self._look, now)

    def _refuse(self, status: str, why: str) -> None:
        body = encode({"error": why})
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.transport.write(f"{head}Retry-After: 1\r\nConnection: close\r\n\r\n".encode() + body)
        self.transport.close()


def _has_input(connected: socket.socket) -> bool:
    looked_at = select.poll()
    looked_at.register(connected.fileno(), select.POLLIN)
    return bool(looked_at.poll(0))
