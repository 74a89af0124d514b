"""A client so light that it is not what is measured: keep-alive connections that ask without a pause."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import cast

import numpy as np
import uvloop

CONNECTIONS = 4


@dataclass(frozen=True)
class Load:
    """What the client saw."""

    requests: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def load(port: int, body: bytes, *, seconds: float = float("inf"), requests: float = float("inf")) -> Load:
    """POST a body to /invocations over and over, for so long or so often; raises for any reply but a 200."""
    return uvloop.run(_load(port, body, seconds, requests))


async def _load(port: int, body: bytes, seconds: float, requests: float) -> Load:
    head = "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}"
    started = time.perf_counter()
    loop, deadline = asyncio.get_running_loop(), started + seconds
    connections = []
    for _ in range(CONNECTIONS):
        asking = _Connection(f"{head}\r\n\r\n".encode() + body, deadline, requests / CONNECTIONS)
        connections.append(asking)
        await loop.create_connection(lambda: asking, "127.0.0.1", port)  # noqa: B023
    for asking in connections:
        await asking.done
    taken = np.concatenate([asking.taken for asking in connections])
    p50, p99 = np.quantile(taken, [0.5, 0.99])
    return Load(len(taken), time.perf_counter() - started, float(p50), float(p99))


class _Connection(asyncio.Protocol):
    """Sends the next request when the last is answered."""

    def __init__(self, request: bytes, deadline: float, requests: float) -> None:
        self._request, self._deadline, self._requests = request, deadline, requests
        self._reply, self._sent_at = b"", 0.0
        self.taken: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Go on when a reply is whole."""
        self._reply += data
        header, end, rest = self._reply.partition(b"\r\n\r\n")
        if not end or len(rest) < _length_of(header):
            return
        now = time.perf_counter()
        self.taken.append(now - self._sent_at)
        if not header.startswith(b"HTTP/1.1 200"):
            self._end(RuntimeError(self._reply.decode()))
        elif now > self._deadline or len(self.taken) >= self._requests:
            self._end(None)
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """A server that hangs up has failed."""
        self._end(error or ConnectionResetError("the server hung up"))

    def _send(self) -> None:
        self._reply, self._sent_at = b"", time.perf_counter()
        self._transport.write(self._request)

    def _end(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
        self._transport.close()


def _length_of(header: bytes) -> int:
    fields = header.lower()
    start = fields.index(b"content-length:") + len(b"content-length:")
    return int(fields[start:].partition(b"\r\n")[0])
