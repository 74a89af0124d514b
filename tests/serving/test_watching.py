from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from include.lifecycle.errors import Rejected, Transient
from include.serving.watching import WatchedMap, watched_map
from tests.serving.running import wait_until


class ApiServer:
    """What an API server says of one ConfigMap, over HTTP: its data, then events as they are put."""

    def __init__(self) -> None:
        self.data: dict[str, str] | None = None
        self.status = 200
        self.events: Queue[dict[str, Any] | None] = Queue()
        self.watched: list[dict[str, list[str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def say(self, kind: str, **data: str) -> None:
        """Send an event to who watches."""
        self.events.put({"type": kind, "object": {"data": data}})

    def close(self) -> None:
        """End a watch that is open, and listen no longer."""
        self.events.put(None)
        self._server.shutdown()
        self._server.server_close()

    def _handler(api) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = parse_qs(urlsplit(self.path).query)
                if "watch" not in asked:
                    self.send_response(api.status if api.data is not None else 404)
                    self.end_headers()
                    found = {"metadata": {"resourceVersion": "7"}, "data": api.data}
                    self.wfile.write(json.dumps(found).encode())
                    return
                api.watched.append(asked)
                self.send_response(200)
                self.end_headers()
                while (event := api.events.get()) is not None:
                    self.wfile.write(json.dumps(event).encode() + b"\n")

            def log_message(self, *said: object) -> None:
                pass

        return Handler


@pytest.fixture
def api() -> Iterator[ApiServer]:
    server = ApiServer()
    yield server
    server.close()


@pytest.fixture
def watched(api: ApiServer) -> Iterator[WatchedMap]:
    with httpx.Client(base_url=api.url) as client:
        watched = WatchedMap("here", "releases", client, retry_after=0.05)
        yield watched
        watched.stop()
        api.events.put(None)


def _says(watched: WatchedMap) -> dict[str, bytes | None] | str:
    try:
        return watched.contents()
    except Transient as error:
        return str(error)


def test_what_is_there_is_read_and_each_change_follows_at_once(api: ApiServer, watched: WatchedMap) -> None:
    api.data = {"late": "1"}
    watched.start()
    assert watched.contents() == {"late": b"1"}
    api.say("MODIFIED", late="2", early="1")
    wait_until(lambda: _says(watched) == {"late": b"2", "early": b"1"}, "the change is followed")
    asked = {name: values[0] for name, values in api.watched[0].items()}
    assert asked["fieldSelector"] == "metadata.name=releases", "or the account would need more rights"
    assert asked["resourceVersion"] == "7"


def test_a_watch_that_expires_is_begun_anew(api: ApiServer, watched: WatchedMap) -> None:
    api.data = {"late": "1"}
    watched.start()
    watched.contents()
    api.data = {"late": "3"}
    api.events.put({"type": "ERROR", "object": {"code": 410, "reason": "Expired"}})
    api.events.put(None)
    wait_until(lambda: _says(watched) == {"late": b"3"}, "all is read anew")
    wait_until(lambda: len(api.watched) > 1, "it watches again")


def test_a_configmap_that_is_not_there_yet_is_waited_for(api: ApiServer, watched: WatchedMap) -> None:
    watched.start()
    with pytest.raises(Transient, match="the cluster answers 404; the first release makes it"):
        watched.contents()
    api.data = {}
    wait_until(lambda: _says(watched) == {}, "it is found")


def test_a_cluster_that_refuses_or_is_away_is_told_and_asked_again(
    api: ApiServer, watched: WatchedMap
) -> None:
    api.data, api.status = {"late": "1"}, 403
    watched.start()
    with pytest.raises(Transient, match="the cluster answers 403; the pod's account must get and watch it"):
        watched.contents()
    api.status = 200
    wait_until(lambda: _says(watched) == {"late": b"1"}, "it answers again")


def test_a_cluster_that_goes_away_is_told() -> None:
    api = ApiServer()
    api.data = {"late": "1"}
    with httpx.Client(base_url=api.url) as client:
        watched = WatchedMap("here", "releases", client, retry_after=0.05)
        watched.start()
        assert watched.contents() == {"late": b"1"}
        api.close()
        wait_until(lambda: "the cluster does not answer" in str(_says(watched)), "it is told")
        watched.stop()


def test_without_an_address_the_store_is_followed() -> None:
    assert watched_map({}) is None


@pytest.mark.parametrize("address", ["configmap://here", "configmap://here/a/b", "s3://here/a", "releases"])
def test_an_address_of_nothing_that_can_be_watched_is_refused(address: str) -> None:
    with pytest.raises(Rejected, match=r"is not configmap://<namespace>/<name>"):
        watched_map({"PERENNIAL_RELEASES": address})


def test_outside_of_a_cluster_nothing_can_be_watched() -> None:
    with pytest.raises(Rejected, match="from a pod alone"):
        watched_map({"PERENNIAL_RELEASES": "configmap://here/releases"})
