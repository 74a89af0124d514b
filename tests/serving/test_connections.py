"""Callers on real sockets, and the server that they meet with tighter bounds."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.server import ServerState

from include.serving import connections
from include.serving.connections import BoundedConnection
from tests.serving.running import answers, wait_until
from tests.serving.test_whole_replies import Wire

# More than the sockets' own buffers hold.
REPLY = 16 << 20
# More than the loop's clock takes to say another time.
TICK = 0.01
PATHS = ("/", "/large", "/late", "/slow")
ASKED, SENT_ALL = threading.Event(), threading.Event()
"""A late request is being answered; its caller sends no more."""


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    """Answers GET with a small reply, a large or a late one, and POST with the size of the body."""

    async def answer(request: Request) -> Response:
        if request.url.path == "/late":
            ASKED.set()
            SENT_ALL.wait(30)  # and nothing is read meanwhile, as while a model answers
        if request.url.path == "/slow":
            await asyncio.sleep(1.5)
        if request.method == "GET":
            return Response(b"x" * (REPLY if request.url.path == "/large" else 2))
        return Response(str(len(await request.body())))

    app = Starlette(routes=[Route(path, answer, methods=["GET", "POST"]) for path in PATHS])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, http=BoundedConnection, log_level="critical", lifespan="off")
        config.timeout_keep_alive = 120  # as where it is served: connections end themselves
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        address = listener.getsockname()
        wait_until(lambda: answers(f"http://{address[0]}:{address[1]}"), "it answers")
        yield address
        running.should_exit = True
        thread.join()


def received(address: tuple[str, int], *parts: bytes) -> bytes:
    """All that comes back until the server closes the connection."""
    found = b""
    with socket.create_connection(address, timeout=30) as caller:
        try:
            for part in parts:
                caller.sendall(part)
            while part := caller.recv(65_536):
                found += part
        except ConnectionError:
            pass
    return found


@pytest.mark.parametrize(
    "begin",
    [
        b"POST / HTTP/1.1\r\nLong: ",
        b"POST /",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nTrailer: ",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    ],
)
def test_a_head_that_never_ends_is_refused(server: tuple[str, int], begin: bytes) -> None:
    found = received(server, begin, *[b"x" * 65_536] * 200)
    assert found == b"" or found.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


def test_headers_of_a_usual_size_and_large_bodies_are_taken(server: tuple[str, int]) -> None:
    url = f"http://{server[0]}:{server[1]}/"
    headers = {f"X-{number}": "x" * 1_000 for number in range(30)}
    for content in (b"x" * 3_000_000, iter([b"x"] * 1_000)):
        reply = httpx.post(url, content=content, headers=headers)
        assert reply.text == ("1000" if not isinstance(content, bytes) else "3000000")


def test_few_requests_may_wait_on_one_connection(server: tuple[str, int]) -> None:
    request, last = (
        b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % more for more in (b"", b"Connection: close\r\n")
    )
    assert received(server, request * 50 + last).count(b"HTTP/1.1 200") == 51
    assert received(server, request * 5_000 + last).count(b"HTTP/1.1 200") <= 101


def test_who_connects_too_many_is_told_so_and_the_others_are_answered(
    server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    url = f"http://{server[0]}:{server[1]}/"
    with ExitStack() as stack:
        callers = [stack.enter_context(httpx.Client()) for _ in range(3)]
        assert [caller.get(url).status_code for caller in callers] == [200] * 3
        refused = received(server)
        assert refused.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 1" in refused
        assert b"ask again in a second" in refused
        assert [caller.get(url).status_code for caller in callers] == [200] * 3
    wait_until(lambda: answers(url), "there is room again")


def test_the_connection_that_was_not_used_for_longest_makes_room(
    server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(connections, "UNUSED", 0.0)
    request = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as stack:
        begun = stack.enter_context(_answered(server))
        begun.sendall(request[:5])
        first, second = [stack.enter_context(_answered(server)) for _ in range(2)]
        newest = stack.enter_context(_answered(server))
        assert first.recv(65_536) == b""
        begun.sendall((request % b"")[5:])
        assert begun.recv(65_536).startswith(b"HTTP/1.1 200")
        for caller in (second, begun, newest):
            caller.sendall(request % b"slow")
        assert b"ask again in a second" in received(server)
        assert newest.recv(65_536).startswith(b"HTTP/1.1 200")


def test_a_connection_on_which_something_is_due_does_not_make_room(
    server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(connections, "UNUSED", 0.0)
    with ExitStack() as stack:
        busy, reading = [stack.enter_context(_answered(server)) for _ in range(2)]
        busy.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        reading.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        reading.recv(1)
        assert b"ask again in a second" in received(server)
        assert busy.recv(65_536).startswith(b"HTTP/1.1 200")
        time.sleep(TICK)
        silent = stack.enter_context(socket.create_connection(server, timeout=30))
        assert busy.recv(65_536) == b""
        time.sleep(TICK)
        stack.enter_context(_answered(server))
        assert silent.recv(65_536) == b""


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n"])
def test_a_connection_whose_request_was_not_read_yet_does_not_make_room(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(connections, "UNUSED", 0.0)
    config = uvicorn.Config(Response(b"xx"), http=BoundedConnection, lifespan="off")
    config.load()
    state, wire = ServerState(), Wire()

    async def closes_for_another() -> bool:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        with here:
            older, _ = await loop.connect_accepted_socket(
                lambda: BoundedConnection(config, state, {}, loop), there
            )
            time.sleep(TICK)
            here.sendall(sent)
            newer = BoundedConnection(config, state, {}, loop)
            newer.connection_made(cast(asyncio.Transport, wire))
            closes = older.is_closing()
            newer.connection_lost(None)
            older.abort()
            await asyncio.sleep(0)
            return closes

    assert asyncio.run(closes_for_another()) == (not sent)
    assert (b"ask again in a second" in b"".join(wire.seen)) == bool(sent)


def _answered(server: tuple[str, int]) -> socket.socket:
    """A connection that was used a moment ago."""
    caller = socket.create_connection(server, timeout=30)
    caller.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert caller.recv(65_536).startswith(b"HTTP/1.1 200")
    time.sleep(TICK)
    return caller


def test_nothing_is_kept_of_a_connection_that_was_reset(server: tuple[str, int]) -> None:
    def kept() -> int:
        return sum(isinstance(each, BoundedConnection) for each in gc.get_objects())

    before = kept()
    for _ in range(9):
        caller = _answered(server)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.close()
    wait_until(lambda: kept() <= before + 1, "they are forgotten")


def test_replies_that_nobody_reads_have_a_bounded_place_in_memory(
    server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_UNREAD", 3 * REPLY)
    request = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with ExitStack() as stack:
        callers = [stack.enter_context(socket.create_connection(server, timeout=30)) for _ in range(8)]
        for caller in callers:
            caller.sendall(request)
            # The reply has begun before the next one asks.
            caller.recv(1)
        complete = [_size(caller) > REPLY for caller in callers]
    assert complete[:2] == [True, True]
    assert sum(complete) < 5


def test_who_neither_sends_nor_reads_loses_the_connection(
    server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.2)
    for begin in (b"", b"POST / HT", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"):
        assert received(server, begin) == b""
    with socket.create_connection(server, timeout=30) as caller:
        caller.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        caller.recv(1)
        for _ in range(3):
            received(server)
        assert _size(caller) < REPLY


def test_a_connection_that_is_not_used_ends_and_one_that_waits_for_its_reply_does_not(
    server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.5)
    request = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
    assert received(server, request % b"").startswith(b"HTTP/1.1 200")
    assert received(server, request % b"slow").startswith(b"HTTP/1.1 200")


def _size(caller: socket.socket) -> int:
    size = 1
    try:
        while part := caller.recv(1 << 20):
            size += len(part)
    except ConnectionError:
        pass
    return size


def test_who_sends_no_more_while_it_is_answered_reads_the_answer(server: tuple[str, int]) -> None:
    with socket.create_connection(server, timeout=30) as caller:
        caller.sendall(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ASKED.wait(30)
        caller.shutdown(socket.SHUT_WR)
        SENT_ALL.set()
        assert caller.recv(65_536).endswith(b"xx")
    with socket.create_connection(server, timeout=30) as caller:
        caller.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        caller.shutdown(socket.SHUT_WR)
        assert caller.recv(65_536).endswith(b"xx")
        assert caller.recv(65_536) == b""
