from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx

from include.lifecycle.store.objects import Store
from tests.serving.released import MODEL, ROW, publish, release_of
from tests.serving.running import free_port, wait_until


def test_who_comes_after_a_kill_waits_for_the_next_server_and_is_answered(
    tmp_path: Path, store: Store, packages: dict[str, Path]
) -> None:
    publish(store, release_of(packages["1"], "1", store))
    port, lent = free_port(), str(tmp_path / "port")
    url = f"http://127.0.0.1:{port}/models/{MODEL}/invocations"
    environment = {**os.environ, "PERENNIAL_HOME": str(tmp_path / "home"), "PERENNIAL_STORE": store.uri}

    def start(*command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", *command], env=environment)

    with ExitStack() as stack:
        listens = ["--host", "127.0.0.1", "--port", str(port)]
        keeper = start("include.serving.holding", *listens, "--lend", lent)
        stack.callback(keeper.kill)
        first = start("include.serving", "--borrow", lent)
        stack.callback(first.kill)
        wait_until(lambda: _answered(url), "it answers", first)
        first.kill()
        first.wait()
        with ThreadPoolExecutor(4) as callers:
            replies = callers.map(lambda _: _answered(url), range(8))
            second = start("include.serving", "--borrow", lent)
            stack.callback(second.kill)
            assert all(replies)
        keeper.terminate()
        assert keeper.wait(300) == 0
        assert second.wait(300) == 0, "nobody would keep the port for the next one"


def _answered(url: str) -> bool:
    try:
        return httpx.post(url, json={"instances": [ROW]}, timeout=300).is_success
    except httpx.TransportError:
        return False
