"""Every request is asked on a real socket, of a server that answers at once and of one that never does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from include.lifecycle.release.document import Release
from include.serving import connections
from include.serving.access import KEYS, KeyRequired, keys_of
from include.serving.answering import Answering, Reply
from include.serving.app import create_app
from include.serving.at_once import AtOnce
from include.serving.connections import BoundedConnection
from include.serving.head import BULK_BODY, Target
from include.serving.rate import Rate, RateLimited
from tests.serving.answering_server import AnsweringServer
from tests.serving.released import MODEL, ROW, tensors
from tests.serving.running import wait_until

KEY = "a-key-of-this-server"
ONE = json.dumps({"instances": [ROW]}).encode()
CLOSE = b"Connection: close\r\n"


class Behind:
    """The application, and how often it was asked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self.asked = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await self._app(scope, receive, send)


class Front:
    """A listening server."""

    def __init__(
        self,
        server: AnsweringServer,
        keys: str = "",
        rate: Rate | None = None,
        answering: Answering | None = None,
    ) -> None:
        answering = answering or server.answering
        app = create_app(answering, server.models, server.log, server.metrics)
        limited = RateLimited(app, rate) if rate else None
        keyed = KeyRequired(limited or app, keys_of("0.0.0.0", {KEYS: keys})) if keys else None
        self.behind = Behind(keyed or limited or app)
        http = partial(BoundedConnection, at_once=AtOnce(answering, keyed, limited))
        config = uvicorn.Config(self.behind, http=cast(Any, http), log_level="critical", lifespan="off")
        self.uvicorn, self._listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(target=self.uvicorn.run, args=([self._listener],))

    def __enter__(self) -> Front:
        self._thread.start()
        wait_until(lambda: self.uvicorn.started, "it listens")
        return self

    def __exit__(self, *_: object) -> None:
        self.uvicorn.should_exit = True
        self._thread.join()

    def ask(self, *parts: bytes) -> bytes:
        """All that comes back, when these parts are sent one after the other, until the server closes."""
        with socket.create_connection(self.address, timeout=30) as caller:
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for part in parts:
                caller.sendall(part)
            return received(caller)


def received(caller: socket.socket) -> bytes:
    found = b""
    while part := caller.recv(65_536):
        found += part
    return found


def post(body: bytes = ONE, path: str = "/invocations", headers: bytes = CLOSE) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + headers + b"\r\n" + body


@pytest.fixture
def released(server: AnsweringServer, releases: dict[str, Release]) -> AnsweringServer:
    server.release(releases["1"])
    return server


@pytest.fixture
def front(released: AnsweringServer) -> Iterator[Front]:
    with Front(released) as front:
        yield front


def said(reply: bytes) -> tuple[bytes, set[bytes], bytes]:
    """Status, headers and body, but for what is another each time."""
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *headers = head.lower().split(b"\r\n")
    return status, {line for line in headers if not line.startswith(b"date")}, body


@pytest.mark.parametrize(
    ("body", "path", "headers"),
    [
        (ONE, "/invocations", b""),
        (ONE, f"/invocations?model={MODEL}", b""),
        (ONE, f"/models/{MODEL}/invocations", b"Content-Type: application/json; charset=utf-8\r\n"),
        (ONE, "/models/del%61y/invocations", b""),
        (ONE, "/invocations", b"X-Model: delay\r\n"),
        (ONE, "/invocations?model=", b"X-Model: nobody\r\n"),
        (ONE, "/invocations?model=nobody", b"X-Model: delay\r\n"),
        (json.dumps(tensors(3)).encode(), f"/v2/models/{MODEL}/infer", b""),
        (json.dumps(tensors()).encode(), f"/v2/models/{MODEL}/versions/1/infer", b""),
        (json.dumps(tensors()).encode(), f"/v2/models/{MODEL}/versions/9/infer", b""),
        (b"{", "/invocations", b""),
        (b"", "/invocations", b""),
        (json.dumps({"instances": [{**ROW, "distance": "far"}]}).encode(), "/invocations", b""),
    ],
)
def test_a_reply_at_once_is_the_one_that_the_application_gives(
    front: Front, body: bytes, path: str, headers: bytes
) -> None:
    headers += CLOSE + b"X-Request-Id: mine\r\n"
    at_once = front.ask(post(body, path, headers))
    assert front.behind.asked == 0
    expecting = front.ask(post(body, path, headers + b"Expect: 100-continue\r\n"))
    assert front.behind.asked == 1
    assert said(at_once) == said(expecting.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post(headers=CLOSE + b"Content-Type: text/csv\r\n"), b"415"),
        (post(headers=CLOSE + b"Content-Encoding: gzip\r\n"), b"415"),
        (post(headers=CLOSE + b"X-Request-Id: \r\n"), b"400"),
        (post(b" " * BULK_BODY + ONE), b"200"),
        (post(path=f"/invocations?{'x' * 300}"), b"200"),
        (post(path="/nowhere"), b"404"),
        (post(path="*"), b"404"),
        (post().replace(b"POST", b"PUT"), b"405"),
        (
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            + CLOSE
            + b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(ONE), ONE),
            b"200",
        ),
    ],
)
def test_what_is_unusual_is_left_to_the_application(front: Front, request_: bytes, status: bytes) -> None:
    assert front.ask(request_).startswith(b"HTTP/1.1 " + status)
    assert front.behind.asked == 1


def test_a_path_that_is_no_text_is_answered_and_not_by_a_failure(front: Front) -> None:
    for path in (b"/models/\xff/invocations", b"/models/%FF/invocations", b"http://[/invocations"):
        reply = front.ask(post().replace(b"/invocations", path))
        assert reply.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))


def test_a_body_may_come_in_parts(front: Front, released: AnsweringServer) -> None:
    whole = post()
    with socket.create_connection(front.address, timeout=30) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in (whole[:40], whole[40:-30], whole[-30:-1]):
            caller.sendall(part)
            threading.Event().wait(0.05)
        assert released.metric("requests_total", model=MODEL, version="1", outcome="ok") in (None, 0)
        caller.sendall(whole[-1:])
        assert received(caller).startswith(b"HTTP/1.1 200")
    assert front.behind.asked == 0


def test_requests_on_one_connection_are_answered_in_their_order(front: Front) -> None:
    def named(name: str) -> bytes:
        return post(headers=f"X-Request-Id: {name}\r\n".encode())

    ping, last = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", post(headers=CLOSE + b"X-Request-Id: last\r\n")
    found = front.ask(named("a") + named("b") + ping + named("c") + named("d") + last)
    places = [found.index(what) for what in (b'"a"', b'"b"', b'"ready"', b'"c"', b'"d"', b'"last"')]
    assert places == sorted(places)
    assert found.count(b"HTTP/1.1 200") == 6


def test_a_connection_stays_open_unless_its_caller_wants_it_closed(front: Front) -> None:
    with socket.create_connection(front.address, timeout=30) as caller:
        for _ in range(3):
            caller.sendall(post(headers=b""))
            assert b"connection: close" not in caller.recv(65_536)
        caller.sendall(post())
        assert b"connection: close\r\n" in received(caller)
    for headers in (b"", b"Connection: keep-alive\r\n"):
        older = post(headers=headers).replace(b"HTTP/1.1", b"HTTP/1.0")
        assert b"connection: close\r\n" in front.ask(older)


def test_a_caller_who_asks_no_more_is_left(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.5)
    assert front.ask(post(headers=b"")).startswith(b"HTTP/1.1 200")


def test_who_sends_no_more_reads_the_answer(front: Front) -> None:
    for _ in range(20):
        with socket.create_connection(front.address, timeout=30) as caller:
            caller.sendall(post(headers=b""))
            caller.shutdown(socket.SHUT_WR)
            assert received(caller).startswith(b"HTTP/1.1 200")


def test_what_follows_a_request_at_once_is_waited_for_and_answered(front: Front) -> None:
    front.uvicorn.config.timeout_keep_alive = 1
    second = post()
    with socket.create_connection(front.address, timeout=30) as caller:
        caller.sendall(post(headers=b"") + second[:-1])
        threading.Event().wait(2)
        caller.sendall(second[-1:])
        assert received(caller).count(b"HTTP/1.1 200") == 2


def test_what_follows_the_last_request_of_a_connection_is_not_predicted(
    front: Front, released: AnsweringServer
) -> None:
    older = post(headers=b"Connection: keep-alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert front.ask(older * 2).count(b"HTTP/1.1 200") == 1
    assert released.metric("requests_total", model=MODEL, version="1", outcome="ok") == 1


def test_a_request_whose_body_is_on_its_way_is_answered_before_the_server_ends(
    released: AnsweringServer,
) -> None:
    with Front(released) as front, socket.create_connection(front.address, timeout=30) as caller:
        caller.sendall(post(headers=b"")[:-1])
        wait_until(lambda: any(each.cycle for each in _connections(front)), "its head is read")
        front.uvicorn.should_exit = True
        wait_until(lambda: not all(each.cycle.keep_alive for each in _connections(front)), "it wants to end")
        caller.sendall(ONE[-1:])
        assert received(caller).startswith(b"HTTP/1.1 200")


def _connections(front: Front) -> list[BoundedConnection]:
    return [cast(BoundedConnection, each) for each in front.uvicorn.server_state.connections]


def test_only_callers_with_a_key_are_answered(released: AnsweringServer) -> None:
    with Front(released, keys=KEY) as front:
        for sent in (f"Authorization: Bearer {KEY}\r\n", f"X-API-Key: {KEY}\r\n"):
            assert front.ask(post(headers=CLOSE + sent.encode())).startswith(b"HTTP/1.1 200")
        assert front.behind.asked == 0
        for sent in ("", "X-API-Key: another-key-entirely\r\n"):
            assert front.ask(post(headers=CLOSE + sent.encode())).startswith(b"HTTP/1.1 401")


def test_each_request_counts_once_towards_the_rate(released: AnsweringServer) -> None:
    with Front(released, rate=Rate(3, 3600)) as front:
        statuses = [front.ask(post())[9:12] for _ in range(5)]
        assert statuses == [b"200"] * 3 + [b"429"] * 2
        assert front.behind.asked == 2


def test_a_caller_behind_a_proxy_of_this_machine_has_a_rate_of_its_own(released: AnsweringServer) -> None:
    with Front(released, rate=Rate(1, 3600)) as front:
        for address in ("10.0.0.1", "10.0.0.2"):
            sent = CLOSE + f"X-Forwarded-For: {address}\r\n".encode()
            assert [front.ask(post(headers=sent))[9:12] for _ in range(2)] == [b"200", b"429"]


class Exits(Answering):
    """Its model's code ends the process, or wants to."""

    def reply(self, target: Target, body: bytes, request_id: str | None) -> Reply:
        """No reply."""
        raise SystemExit(3)


def test_whatever_a_model_does_ends_one_request_and_is_counted(released: AnsweringServer) -> None:
    exits = Exits(released.models, released.log, released.metrics, released.copies)
    with Front(released, answering=exits) as front:
        for _ in range(2):
            found = front.ask(post())
            assert found.startswith(b"HTTP/1.1 500")
            assert b"the server failed on this request" in found
    assert released.metric("requests_total", model="", version="", outcome="internal_error") == 2
