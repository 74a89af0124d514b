from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil

from include.lifecycle.store.objects import Store
from tests.serving.released import MODEL, ROW, publish, release_of
from tests.serving.running import free_port, wait_until


def test_who_comes_after_a_kill_waits_for_the_next_server_and_is_answered(
    tmp_path: Path, store: Store, packages: dict[str, Path]
) -> None:
    publish(store, release_of(packages["1"], "1", store))
    port = free_port()
    url = f"http://127.0.0.1:{port}/models/{MODEL}/invocations"
    command = [sys.executable, "-m", "include.serving.holding", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "PERENNIAL_HOME": str(tmp_path / "home"), "PERENNIAL_STORE": store.uri}
    held = subprocess.Popen(command, env=environment)
    try:
        wait_until(lambda: _answered(url), "it answers", held)
        first = _server(held)
        first.send_signal(signal.SIGKILL)
        with ThreadPoolExecutor(4) as callers:
            assert all(callers.map(lambda _: _answered(url), range(8)))
        assert _server(held).pid != first.pid
        held.terminate()
        assert held.wait(30) == 0
    finally:
        held.kill()


def test_a_server_that_cannot_start_is_not_started_again(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "include.serving.holding", "--port", str(free_port())]
    environment = {name: value for name, value in os.environ.items() if name != "PERENNIAL_SERVER_KEYS"}
    environment["PERENNIAL_HOME"] = str(tmp_path)
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    assert "set PERENNIAL_SERVER_KEYS" in ended.stderr


def _server(held: subprocess.Popen[bytes]) -> psutil.Process:
    (server,) = psutil.Process(held.pid).children()
    return server


def _answered(url: str) -> bool:
    try:
        return httpx.post(url, json={"instances": [ROW]}, timeout=300).is_success
    except httpx.TransportError:
        return False
