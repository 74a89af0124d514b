"""A server in a process of its own, as the stack runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx


class RunningServer:
    """`python -m include.serving` with its own home, on a free port of this machine where no address is
    given; a context manager."""

    def __init__(
        self,
        home: Path,
        store: str,
        environment: Mapping[str, str] | None = None,
        address: tuple[str, int] | None = None,
    ) -> None:
        self.home = home
        self.host, self.port = address or ("127.0.0.1", free_port())
        self.url = f"http://{self.host}:{self.port}"
        self.log = home / "server.log"
        home.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "include.serving", "--host", self.host, "--port", str(self.port)],
                env={
                    **os.environ,
                    "PERENNIAL_HOME": str(home),
                    "PERENNIAL_STORE": store,
                    **(environment or {}),
                },
                stderr=log,
            )

    def __enter__(self) -> Self:
        wait_until(lambda: answers(f"{self.url}/v2/health/live"), "the server is live", self.process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)

    def kill(self) -> None:
        """End the process as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def metric(self, sample: str) -> float | None:
        """The value of a sample such as `name{label="value"}`, or None."""
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(f"{sample} "):
                return float(line.removeprefix(sample))
        return None

    def flush(self) -> None:
        """Return when all that was acknowledged is in Delta."""
        httpx.post(f"{self.url}/admin/flush", timeout=60).raise_for_status()


def wait_until(
    condition: Callable[[], object], what: str, process: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait up to a minute for a condition, or until the process has ended."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    """Whether a GET gets a 2xx."""
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False
