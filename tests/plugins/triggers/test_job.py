from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from mlops.triggers.job import JobTrigger

_GONE = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_AWAY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"
_SILENCE = b""


class Cluster:
    """An API server that answers each request with the next of some bytes, and hangs up."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = list(answers)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._answers.pop(0))
        await writer.drain()
        writer.close()

    @property
    def has_more(self) -> bool:
        """Whether somebody stopped asking too early."""
        return bool(self._answers)


async def _wait_for_end(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    async with await asyncio.start_server(cluster, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "me", "user": {}}],
        }
        connection = {"conn_type": "kubernetes", "extra": {"kube_config": json.dumps(config)}}
        monkeypatch.setenv("AIRFLOW_CONN_HERE", json.dumps(connection))
        trigger = JobTrigger("late-train", "perennial", "here", patience=60, startup=60)
        return [event.payload async for event in trigger.run()]


@pytest.mark.parametrize("trouble", [_SILENCE, _AWAY, _CUT], ids=["hangs up", "unavailable", "cut off"])
def test_while_the_cluster_does_not_answer_it_is_asked_again(
    trouble: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops.triggers.job._EVERY", 0.01)
    cluster = Cluster([trouble, trouble, _GONE])
    events = asyncio.run(asyncio.wait_for(_wait_for_end(cluster, monkeypatch), 30))
    assert events == [{"name": "late-train"}]
    assert not cluster.has_more
