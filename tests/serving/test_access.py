import os
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from include.lifecycle.errors import Rejected
from include.serving.access import KEYS, KeyRequired, keys_of

FIRST, SECOND = "first-key-0123456789", "second-key-0123456789"
ANYWHERE = "0.0.0.0"
OPEN_PATHS = ("/ping", "/v2/health/live", "/v2/health/ready")


@pytest.fixture
def client() -> TestClient:
    def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse("42")

    paths = ("/invocations", "/metrics", "/docs", *OPEN_PATHS)
    app = Starlette(routes=[Route(path, answer, methods=["GET", "POST"]) for path in paths])
    return TestClient(KeyRequired(app, keys_of(ANYWHERE, {KEYS: f"{FIRST}, {SECOND}"})))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_callers_on_the_same_machine_need_no_key_unless_one_is_set(host: str) -> None:
    assert keys_of(host, {}) == frozenset()
    assert len(keys_of(host, {KEYS: FIRST})) == 1


@pytest.mark.parametrize("host", [ANYWHERE, "::", "10.1.2.3", "server.example"])
def test_a_server_for_others_does_not_start_until_somebody_said_who_may_ask(host: str) -> None:
    for empty in ({}, {KEYS: ""}, {KEYS: " , "}):
        with pytest.raises(Rejected, match=f"set {KEYS} to the keys"):
            keys_of(host, empty)
    assert keys_of(host, {KEYS: "open"}) == frozenset()
    assert len(keys_of(host, {KEYS: f"{FIRST},{SECOND}"})) == 2


@pytest.mark.parametrize("keys", ["short", f"{FIRST},short", f"open,{FIRST}"])
def test_a_key_that_could_be_guessed_is_refused(keys: str) -> None:
    with pytest.raises(Rejected, match="can be guessed"):
        keys_of(ANYWHERE, {KEYS: keys})


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {FIRST}"},
        {"Authorization": f"bearer  {SECOND}"},
        {"X-API-Key": SECOND},
    ],
)
def test_who_sends_one_of_the_keys_is_answered(client: TestClient, headers: dict[str, str]) -> None:
    for path in ("/invocations", "/metrics", "/docs"):
        assert client.post(path, headers=headers).text == "42"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Basic {FIRST}"},
        {"Authorization": FIRST},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {FIRST[:-1]}"},
        {"X-API-Key": f"{FIRST},{SECOND}"},
        {"Authorization": "Bearer wrong", "X-API-Key": FIRST},
    ],
)
def test_who_sends_none_is_told_how(client: TestClient, headers: dict[str, str]) -> None:
    for path in ("/invocations", "/metrics", "/docs", "/nowhere"):
        reply = client.post(path, headers=headers)
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert "Authorization: Bearer <key>" in reply.json()["error"]


def test_whoever_watches_over_the_process_needs_no_key(client: TestClient) -> None:
    for path in OPEN_PATHS:
        assert client.get(path).text == "42"


def test_the_command_says_what_to_set(tmp_path: Path) -> None:
    told = {"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_STORE": str(tmp_path / "store"), KEYS: ""}
    command = [sys.executable, "-m", "include.serving", "--host", ANYWHERE, "--port", "0"]
    ended = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert f"set {KEYS} to the keys" in ended.stderr
    assert "Traceback" not in ended.stderr
