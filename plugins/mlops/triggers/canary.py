"""Watches what servers count of a candidate, until a rung is climbed or the candidate must be stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from airflow.triggers.base import BaseTrigger, TriggerEvent

from include.lifecycle.release.counts import ServerCounts
from include.lifecycle.release.judge import judge
from include.lifecycle.release.ladder import Rung
from include.lifecycle.release.sums import Servers, sum_counts
from include.lifecycle.spec.release import ReleasePolicy
from mlops.hooks.server import CONNECTION, ServerHook, headers_of, url_of

_EVERY = 10.0
"""Seconds between two looks."""
_UNTIL_COMPARED = 1.0
"""Seconds between two looks as long as no server has loaded the candidate."""
_TOLD_EVERY = 6
"""Looks between two lines in the log."""
_PATIENCE = 120.0
"""Seconds in which the servers that answer have to load the candidate."""


class CanaryTrigger(BaseTrigger):
    """Fires with `stop` and `why`: the candidate is beyond a tolerance, or has seen what a rung asks for."""

    def __init__(
        self, model: str, version: str, policy: dict[str, Any], rung: dict[str, Any], since: str
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model, self.version, self.since = model, version, since
        self.policy, self.rung = policy, rung
        self._servers: Servers | None = None
        self._refusal = ""
        """What a server says that compares nothing."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and what makes it anew."""
        named = ("model", "version", "policy", "rung", "since")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in named}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, when there is nothing more to wait for."""
        looks = 0
        connection = await ServerHook.aget_connection(CONNECTION)
        url = url_of(connection)
        async with httpx.AsyncClient(timeout=5, headers=headers_of(connection)) as client:
            while (
                event := self._judged(await self._read(client, url), aloud=looks % _TOLD_EVERY == 0)
            ) is None:
                looks += 1
                await asyncio.sleep(_EVERY if self._servers else _UNTIL_COMPARED)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    def _judged(self, read: list[ServerCounts], *, aloud: bool) -> dict[str, Any] | None:
        rung = Rung.model_validate(self.rung)
        waited = time.time() - datetime.fromisoformat(self.since).timestamp()
        self._servers = self._grown(read)
        if self._servers is None:
            why = f"no server compares version {self.version}: {self._refusal or 'none answers'}"
            self._tell("%s", why, aloud=aloud)
            return {"stop": True, "why": why} if self._refusal and waited > _PATIENCE else None
        counts = sum_counts(self._servers)
        found = judge(counts, ReleasePolicy.model_validate(self.policy))
        self._tell("%s; %d of %d seen", found.why, rung.seen(counts), rung.enough, aloud=aloud)
        over = waited >= rung.duration.total_seconds() and rung.seen(counts) >= rung.enough
        return {"stop": found.stop, "why": found.why} if found.stop or over else None

    def _grown(self, read: list[ServerCounts]) -> Servers | None:
        """What is known with what was read; it begins anew with another champion."""
        ours = [item for item in read if (item.model, item.candidate) == (self.model, self.version)]
        known = self._servers
        if ours and (known is None or known.champion != ours[-1].champion):
            known = Servers(model=self.model, champion=ours[-1].champion, candidate=self.version)
        return known and known.with_read(ours)

    async def _read(self, client: httpx.AsyncClient, url: str) -> list[ServerCounts]:
        """Of each server that answers; one that does not is asked again at the next look."""
        try:
            urls = await _addresses(url)
        except OSError as error:
            self.log.warning("%s: %s", url, error)
            return []
        found = await asyncio.gather(*(self._counts(client, url) for url in urls))
        return [counts for counts in found if counts is not None]

    async def _counts(self, client: httpx.AsyncClient, url: str) -> ServerCounts | None:
        try:
            reply = await client.get(f"{url}/v2/models/{self.model}/counts")
            if reply.is_success:
                return ServerCounts.model_validate_json(reply.content)
            self._refusal = reply.json()["error"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            self.log.warning("%s: %s", url, error or type(error).__name__)
        return None

    def _tell(self, text: str, *values: object, aloud: bool) -> None:
        if aloud:
            self.log.info(text, *values)


async def _addresses(url: str) -> list[str]:
    """The same URL at each address that its host name has: all pods behind a headless Service."""
    parts = urlsplit(url)
    found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port, type=1)
    hosts = sorted({str(address[0]) for *_, address in found})
    ports = f":{parts.port}" if parts.port else ""
    return [f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{ports}" for host in hosts]
