from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import sleep
from typing import Any

import httpx
import msgspec
import pytest

from include.demo import traffic

DAY = date(2013, 2, 28)


class LittleServer(ThreadingHTTPServer):
    """Keeps the rows that it was asked about, by what the prediction log would call each."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.rows: list[tuple[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: LittleServer

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/invocations"):
            rows = msgspec.json.decode(content)["dataframe_split"]["data"]
            name = self.headers["X-Request-Id"]
            names = [name] if len(rows) == 1 else [f"{name}/{number}" for number in range(len(rows))]
            self.server.rows += zip(names, rows, strict=True)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[LittleServer]:
    with LittleServer() as little:
        Thread(target=little.serve_forever, daemon=True).start()
        yield little
        little.shutdown()


def test_a_flight_asked_about_alone_is_the_same_request_as_in_the_days_batches(
    server: LittleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = traffic.requests_of(DAY).head(traffic.BATCH + 1)  # the last batch is one row
    monkeypatch.setattr(traffic, "requests_of", lambda day: few)
    monkeypatch.setattr(traffic, "PAUSE", 0.0)
    assert traffic.send(server.url, "late", DAY) == len(few)
    in_batches = dict(server.rows)
    assert len(in_batches) == len(few)

    server.rows.clear()
    with traffic.one_by_one(server.url, "late", DAY):
        while len(server.rows) < 2 * len(few):
            sleep(0.01)
    assert dict(server.rows) == in_batches


def test_users_who_get_no_answer_are_not_overlooked(server: LittleServer) -> None:
    server.status = 500
    asking = traffic.one_by_one(server.url, "late", DAY)
    asking.__enter__()
    while not server.rows:
        sleep(0.01)
    with pytest.raises(httpx.HTTPStatusError):
        asking.__exit__(None, None, None)
