"""How fast is the model server, with logging and metrics on, beside `mlflow models serve`?

`python -m tests.benchmarks.serving` trains one small model, starts each server on it in turn and sends
requests of one row over four connections for eight seconds each.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import mlflow
import numpy as np

from include.lifecycle.model import packaging
from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.store.objects import Store
from tests.benchmarks.figures import Figure, plain, print_figures
from tests.serving.released import MODEL, ROW, make_package, publish, release_of
from tests.serving.running import RunningServer, answers, free_port, wait_until

CONNECTIONS = 4
SECONDS = 8.0
# The very pyfunc that is registered with each version; importing it would declare it to MLflow.
_PYFUNC = Path(packaging.__file__).with_name("pyfunc_model.py")


@dataclass(frozen=True)
class Measured:
    """What a client saw of a server."""

    name: str
    rate: float
    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.name:42} {self.rate:8,.0f} {self.p50 * 1000:9.2f} {self.p99 * 1000:9.2f}"


def main() -> None:
    """Measure, and print the figures."""
    print_figures(run())


def run() -> list[Figure]:
    """Measure both servers and print a table; returns the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = make_package(folder / "package", seed=1, trees=300)
        with _perennial(folder, package) as server:
            ours = measure("perennial, logging and metrics on", server.port)
            logged = _logged(server)
        with _mlflow(folder, package) as port:
            theirs = measure("mlflow models serve", port)
    print(f"one-row requests, {CONNECTIONS} connections, {SECONDS:g} s each, {os.cpu_count()} cores")
    print(f"{'server':42} {'rps':>8} {'p50 ms':>9} {'p99 ms':>9}")
    print(ours, theirs, sep="\n")
    print(
        f"{ours.rate / theirs.rate:.1f} times the requests, {theirs.p99 / ours.p99:.1f} times sooner at p99"
    )
    print(f"{logged:,} rows were in Delta after the run")
    return [
        plain("serving: requests per second", f"{ours.rate:,.0f}"),
        plain("serving: times those of mlflow models serve", f"{ours.rate / theirs.rate:.1f}"),
        plain("serving: p99", f"{ours.p99 * 1000:.2f} ms"),
    ]


def measure(name: str, port: int) -> Measured:
    """Send one-row requests for a bounded time; every reply must be a 200."""
    asyncio.run(_load(port, 1.0))
    seconds = asyncio.run(_load(port, SECONDS))
    p50, p99 = np.quantile(seconds, [0.5, 0.99])
    return Measured(name, len(seconds) / SECONDS, float(p50), float(p99))


async def _load(port: int, seconds: float) -> list[float]:
    deadline = time.perf_counter() + seconds
    found = await asyncio.gather(*(_connection(port, deadline) for _ in range(CONNECTIONS)))
    return [second for part in found for second in part]


async def _connection(port: int, deadline: float) -> list[float]:
    """One keep-alive connection without an HTTP library, so that the client is not what is measured."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"dataframe_records": [ROW]}).encode()
    head = "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    taken = []
    while (started := time.perf_counter()) < deadline:
        writer.write(request)
        header = await reader.readuntil(b"\r\n\r\n")
        fields = header.lower()
        size = int(fields.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        reply = await reader.readexactly(size)
        if not header.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{header.decode()}{reply.decode()}")
        taken.append(time.perf_counter() - started)
    writer.close()
    return taken


@contextmanager
def _perennial(folder: Path, package: Path) -> Iterator[RunningServer]:
    store = Store(str(folder / "store"))
    publish(store, release_of(package, "1", store))
    with RunningServer(folder / "home", store.uri) as server:
        wait_until(lambda: httpx.get(f"{server.url}/v2/models/{MODEL}/ready").is_success, "ready")
        yield server


@contextmanager
def _mlflow(folder: Path, package: Path) -> Iterator[int]:
    mlflow.pyfunc.save_model(
        folder / "mlflow", python_model=_PYFUNC, artifacts={"package": str(package)}, pip_requirements=[]
    )
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder / "mlflow")]
    command += ["--env-manager", "local", "--port", str(port), "--host", "127.0.0.1"]
    # mlflow starts uvicorn from the PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with _running(command, {"PATH": path, "PYTHONPATH": str(Path.cwd())}, f"http://127.0.0.1:{port}/ping"):
        yield port


@contextmanager
def _running(command: list[str], environment: dict[str, str], ready: str) -> Iterator[None]:
    """Run a server until the block ends; its children end with it."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: answers(ready), f"{command[3]} serves", process)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _logged(server: RunningServer) -> int:
    server.flush()
    dataset = prediction_log(MODEL, Store(str(server.home.parent / "store"))).dataset()
    return 0 if dataset is None else int(dataset.count_rows())


if __name__ == "__main__":
    main()
