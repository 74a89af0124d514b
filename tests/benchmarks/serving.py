"""How fast is the model server, all of it on, beside `mlflow models serve` and an app of one's own?

`python -m tests.benchmarks serving` trains one model of 200 trees, starts all servers on it and sends each
in turn requests of one row and of a hundred over four connections, round after round: the pace of a machine
that others use too changes within minutes. What is told are the medians of the rounds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import mlflow
import numpy as np
import pandas as pd
import psutil

from include.lifecycle.data.point_in_time import EVENT_TIME, KEY, LABEL
from include.lifecycle.model import packaging
from include.lifecycle.model.checkpoints import NoCheckpoints
from include.lifecycle.model.features import compute_features, load_feature_code
from include.lifecycle.model.packaging import compile_trees, write_package
from include.lifecycle.model.training import fit
from include.lifecycle.model.training_set import InMemory
from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.spec.model import Training
from include.lifecycle.store.objects import Store
from tests.benchmarks.figures import Figure, at_least, at_most, plain, print_figures
from tests.benchmarks.load import CONNECTIONS, load
from tests.serving.released import MODEL, publish, release_of
from tests.serving.running import RunningServer, answers, free_port, wait_until

ROUNDS, SECONDS = 9, 1.5
INPUTS = {f"x{number}": "number" for number in range(12)}
FEATURES = f"def features(rows):\n    return {{name: rows[name] for name in {list(INPUTS)}}}\n".encode()
TREES, DEPTH = 200, 6
MANY = 100
# The very pyfunc that is registered with each version; importing it would declare it to MLflow.
_PYFUNC = Path(packaging.__file__).with_name("pyfunc_model.py")


class Listening(NamedTuple):
    """A server that is measured."""

    name: str
    port: int
    pid: int


class Measured(NamedTuple):
    """What a client saw of a server, and what an answer took the server."""

    name: str
    rows: int
    rate: float
    p50: float
    p99: float
    cpu: float
    """Seconds of CPU for each request, all threads and processes of the server."""

    def __str__(self) -> str:
        times = f"{self.p50 * 1e3:8.2f} {self.p99 * 1e3:8.2f} {self.cpu * 1e6:10,.0f}"
        return f"{self.name:34} {self.rows:5} {self.rate:8,.0f} {self.rate * self.rows:9,.0f} {times}"


def main() -> None:
    """Measure, and print the figures."""
    print_figures(run())


def run() -> list[Figure]:
    """Measure all servers and print a table; returns the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = make_package(folder / "package")
        with (
            _perennial(folder, package) as server,
            _plain_app(folder, package) as by_hand,
            _mlflow(folder, package) as by_mlflow,
        ):
            ours = Listening("perennial, all of it on", server.port, server.process.pid)
            found = measure([ours, by_hand, by_mlflow])
            logged = _logged(server)
            promoted, rolled_back = _changes(server, folder, package)
    (one, plain_one, mlflow_one), (many, *_) = found
    about = f"{TREES} trees of depth {DEPTH}, {os.cpu_count()} cores"
    print(f"{CONNECTIONS} connections, medians of {ROUNDS} rounds of {SECONDS:g} s each, {about}")
    print(f"{'server':34} {'rows':>5} {'rps':>8} {'rows/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>10}")
    print(*found[0], *found[1], sep="\n")
    print(f"{logged:,} rows were in Delta after the run")
    return [
        at_least("serving: requests per second", 8_000, one.rate, ",.0f"),
        at_most("serving: p99", 2, one.p99 * 1e3, ".2f", " ms"),
        at_least("serving: rows per second, 100 a request", 150_000, many.rate * MANY, ",.0f"),
        plain("serving: times those of FastAPI + inplace_predict", f"{one.rate / plain_one.rate:.1f}"),
        plain("serving: times those of mlflow models serve", f"{one.rate / mlflow_one.rate:.1f}"),
        plain("serving: promotion to first answer", f"{promoted:.2f} s"),
        plain("serving: rollback to first answer", f"{rolled_back:.2f} s"),
    ]


def measure(servers: Sequence[Listening]) -> tuple[list[Measured], list[Measured]]:
    """Requests of one row to each server, then of many; every reply must be a 200."""
    one, many = (
        [[_seen(server, body_of(rows)) for server in servers] for _ in range(ROUNDS)] for rows in (1, MANY)
    )
    return _medians(servers, 1, one), _medians(servers, MANY, many)


def _medians(servers: Sequence[Listening], rows: int, rounds: list[list[list[float]]]) -> list[Measured]:
    return [
        Measured(server.name, rows, *medians)
        for server, medians in zip(servers, np.median(rounds, axis=0).tolist(), strict=True)
    ]


def _seen(server: Listening, body: bytes) -> list[float]:
    """Rate, two quantiles and the CPU for a request, of one round."""
    load(server.port, body, seconds=0.2)
    before = _cpu_of(server.pid)
    seen = load(server.port, body, seconds=SECONDS)
    return [seen.rate, seen.p50, seen.p99, (_cpu_of(server.pid) - before) / seen.requests]


def make_package(folder: Path) -> Path:
    """A package of the model that all serve."""
    draw = np.random.default_rng(1)
    rows = pd.DataFrame(draw.normal(size=(10_000, len(INPUTS))), columns=list(INPUTS))
    features = compute_features(load_feature_code(FEATURES), rows, INPUTS)
    label = (rows["x0"] + rows["x1"] * rows["x2"] + draw.normal(size=len(rows)) > 0).astype(float)
    identity = {KEY: rows.index.astype(str), EVENT_TIME: pd.Timestamp("2013-01-01", tz="UTC"), LABEL: label}
    table = InMemory(pd.DataFrame(identity), features)
    fitted = fit("final", Training(seed=1, parameters={"max_depth": DEPTH}), TREES, table, NoCheckpoints())
    write_package(folder, fitted, FEATURES, inputs=INPUTS, key="id", event_time="at")
    _, parity = compile_trees(folder, fitted, [features], seed=1)
    print(f"compiled: {parity.reason}")
    return folder


def body_of(rows: int) -> bytes:
    """A request of so many rows."""
    values = np.random.default_rng(2).normal(size=(rows, len(INPUTS))).round(6).tolist()
    return json.dumps({"dataframe_records": [dict(zip(INPUTS, row, strict=True)) for row in values]}).encode()


def _cpu_of(pid: int) -> float:
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


@contextmanager
def _perennial(folder: Path, package: Path) -> Iterator[RunningServer]:
    store = Store(str(folder / "store"))
    publish(store, release_of(package, "1", store))
    with RunningServer(folder / "home", store.uri) as server:
        wait_until(lambda: httpx.get(f"{server.url}/v2/models/{MODEL}/ready").is_success, "ready")
        yield server


def _changes(server: RunningServer, folder: Path, package: Path) -> list[float]:
    """Seconds from a release document to the first answer of the version that it names: forth and back."""
    store, seconds = Store(str(folder / "store")), []
    for seq, version in enumerate("21", start=2):
        release = release_of(package, version, store)
        began = time.perf_counter()
        publish(store, release, seq)
        while httpx.post(f"{server.url}/invocations", content=body_of(1)).json()["version"] != version:
            time.sleep(0.01)
        seconds.append(time.perf_counter() - began)
    return seconds


@contextmanager
def _plain_app(folder: Path, package: Path) -> Iterator[Listening]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.benchmarks.plain_app:app", "--port", str(port)]
    environment = {"PLAIN_PACKAGE": str(package)}
    with _running([*command, "--no-access-log"], environment, f"http://127.0.0.1:{port}/ping") as pid:
        yield Listening("FastAPI + inplace_predict", port, pid)


@contextmanager
def _mlflow(folder: Path, package: Path) -> Iterator[Listening]:
    mlflow.pyfunc.save_model(
        folder / "mlflow", python_model=_PYFUNC, artifacts={"package": str(package)}, pip_requirements=[]
    )
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder / "mlflow")]
    command += ["--env-manager", "local", "--port", str(port), "--host", "127.0.0.1"]
    # mlflow starts uvicorn from the PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "PYTHONPATH": str(Path.cwd())}
    with _running(command, environment, f"http://127.0.0.1:{port}/ping") as pid:
        yield Listening("mlflow models serve", port, pid)


@contextmanager
def _running(command: list[str], environment: dict[str, str], ready: str) -> Iterator[int]:
    """Run a server until the block ends; its children end with it."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: answers(ready), f"{command[2]} serves", process)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _logged(server: RunningServer) -> int:
    server.flush()
    dataset = prediction_log(MODEL, Store(str(server.home.parent / "store"))).dataset()
    return 0 if dataset is None else int(dataset.count_rows())


if __name__ == "__main__":
    main()
