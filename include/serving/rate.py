"""How often may a caller ask? So many times in each period; who asks more is told how long to wait."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from include.lifecycle.errors import Rejected
from include.serving.access import CALLER
from include.serving.replies import json_response

RATE = "PERENNIAL_SERVER_RATE"
_FORM = re.compile(r"(?P<requests>[1-9][0-9]{0,8})/(?P<period>second|minute)")
_SECONDS = {"second": 1, "minute": 60}
_FREE = ("/ping", "/v2/health/live", "/v2/health/ready", "/metrics")


@dataclass(frozen=True)
class Rate:
    """How many requests of one caller are answered in a period."""

    requests: int
    seconds: int


def rate_of(environment: Mapping[str, str] = os.environ) -> Rate | None:
    """The rate that was set, None where none was; raises Rejected for what is no rate."""
    told = environment.get(RATE, "").strip()
    if not told:
        return None
    found = _FORM.fullmatch(told)
    if found is None:
        raise Rejected(
            f"{RATE}: {told[:40]!r} is not a rate; write 100/second or 600/minute, with a number from 1, or "
            "leave it empty to answer callers as often as they ask"
        )
    return Rate(int(found["requests"]), _SECONDS[found["period"]])


class RateLimited:
    """An application that answers each caller so often; a caller is a key, else an address."""

    def __init__(self, app: ASGIApp, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._rate, self._clock = app, rate, clock
        self._ends = clock()
        self._asked: dict[object, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or answer 429."""
        wait = 0 if scope["type"] != "http" or scope["path"] in _FREE else self.count(_caller(scope))
        if not wait:
            await self._app(scope, receive, send)
            return
        often = f"{self._rate.requests} requests in {self._rate.seconds} s"
        content = {"error": f"more than {often}; ask again in {wait} s, or send more rows in each request"}
        await json_response(content, 429, {"Retry-After": str(wait)})(scope, receive, send)

    def count(self, caller: object) -> int:
        """Count a request; returns 0 where it may be answered, else the seconds to wait."""
        now = self._clock()
        if now >= self._ends:
            # One period for all, so that nothing is kept of callers who went away.
            self._ends, self._asked = now + self._rate.seconds, {}
        asked = self._asked.get(caller, 0)
        if asked >= self._rate.requests:
            return math.ceil(self._ends - now)
        self._asked[caller] = asked + 1
        return 0


def _caller(scope: Scope) -> object:
    return scope.get(CALLER) or (scope["client"] or ("",))[0]
