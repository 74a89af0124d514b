"""An MLflow server that pods reach, as the stack starts its own for this machine alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx


@contextmanager
def mlflow_server(folder: Path, host: str) -> Iterator[str]:
    """The address, under the name that pods know this host by, of a server on SQLite in a folder."""
    with socket.create_server((host, 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    command += ["--artifacts-destination", f"file://{folder}/artifacts", "--allowed-hosts", "*"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        _wait(f"http://{host}:{port}", process, folder / "log")
        yield f"http://{host}:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            if httpx.get(f"{address}/health").is_success:
                return
        except httpx.TransportError:
            assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
