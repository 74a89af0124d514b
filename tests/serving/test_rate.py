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
from starlette.types import ASGIApp

from include.lifecycle.errors import Rejected
from include.serving.access import KEYS, KeyRequired, keys_of
from include.serving.rate import RATE, Rate, RateLimited, rate_of

FIRST, SECOND = "first-key-0123456789", "second-key-0123456789"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(clock: Clock) -> RateLimited:
    """Answers two requests a minute."""

    def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse("42")

    paths = ("/invocations", "/ping", "/metrics", "/v2/health/live", "/v2/health/ready")
    routes = [Route(path, answer, methods=["GET", "POST"]) for path in paths]
    return RateLimited(Starlette(routes=routes), Rate(2, 60), clock)


def statuses(app: ASGIApp, count: int, address: str = "10.0.0.1", **headers: str) -> list[int]:
    client = TestClient(app, client=(address, 50_000), headers=headers)
    return [client.post("/invocations").status_code for _ in range(count)]


@pytest.mark.parametrize(
    ("told", "rate"),
    [("100/second", Rate(100, 1)), (" 600/minute ", Rate(600, 60)), ("", None), ("  ", None)],
)
def test_a_rate_is_a_number_and_a_period(told: str, rate: Rate | None) -> None:
    assert rate_of({RATE: told}) == rate
    assert rate_of({}) is None


@pytest.mark.parametrize(
    "told", ["100", "0/second", "-1/second", "1.5/minute", "5/hour", "٣/second", "1e3/second"]
)
def test_what_is_no_rate_is_refused_with_one_that_is(told: str) -> None:
    with pytest.raises(Rejected, match="write 100/second or 600/minute"):
        rate_of({RATE: told})


def test_who_asks_too_often_is_told_how_long_to_wait(app: RateLimited, clock: Clock) -> None:
    assert statuses(app, 2) == [200, 200]
    clock.now += 18.5
    reply = TestClient(app, client=("10.0.0.1", 1)).post("/invocations")
    assert reply.status_code == 429
    assert reply.headers["Retry-After"] == "42"
    assert "more than 2 requests in 60 s; ask again in 42 s" in reply.json()["error"]
    clock.now += 42
    assert statuses(app, 3) == [200, 200, 429]


def test_each_address_is_counted_for_itself(app: RateLimited) -> None:
    assert statuses(app, 3) == [200, 200, 429]
    assert statuses(app, 3, address="10.0.0.2") == [200, 200, 429]


def test_where_keys_are_asked_for_each_key_is_counted_wherever_it_comes_from(app: RateLimited) -> None:
    keyed = KeyRequired(app, keys_of("0.0.0.0", {KEYS: f"{FIRST},{SECOND}"}))
    assert statuses(keyed, 2, Authorization=f"Bearer {FIRST}") == [200, 200]
    assert statuses(keyed, 1, address="10.0.0.2", **{"X-API-Key": FIRST}) == [429]
    assert statuses(keyed, 3, **{"X-API-Key": SECOND}) == [200, 200, 429]
    assert statuses(keyed, 1) == [401]


def test_health_and_metrics_are_answered_however_often(app: RateLimited) -> None:
    client = TestClient(app)
    for path in ("/ping", "/v2/health/live", "/v2/health/ready", "/metrics") * 3:
        assert client.get(path).status_code == 200


def test_nothing_is_kept_of_callers_who_went_away(app: RateLimited, clock: Clock) -> None:
    for number in range(20):
        statuses(app, 1, address=f"10.0.1.{number}")
    clock.now += 60
    statuses(app, 1)
    assert len(app._asked) == 1


def test_the_command_says_how_to_write_a_rate_in_one_line(tmp_path: Path) -> None:
    told = {"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_STORE": str(tmp_path / "store"), RATE: "often"}
    command = [sys.executable, "-m", "include.serving", "--port", "0"]
    ended = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{RATE}: 'often' is not a rate; write 100/second or 600/minute")
    assert ended.stderr.count("\n") == 1
