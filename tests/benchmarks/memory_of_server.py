"""Does the model server's memory stay flat over a million requests?

`python -m tests.benchmarks memory_of_server` sends requests of one row over four connections, with logging
and metrics on, and compares what the process has in memory after the first tenth with what it has at the
end. PERENNIAL_SERVER_REQUESTS changes the number of requests.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from include.lifecycle.store.objects import Store
from tests.benchmarks.figures import Figure, at_most, plain
from tests.benchmarks.load import load
from tests.serving.released import MODEL, ROW, make_package, publish, release_of
from tests.serving.running import RunningServer, wait_until

REQUESTS = int(os.environ.get("PERENNIAL_SERVER_REQUESTS") or 1_000_000)
PARTS = 10
BODY = json.dumps({"dataframe_records": [ROW]}).encode()
MAX_GROWTH = 32.0


def run() -> list[Figure]:
    """Send the requests in ten parts and print what the server has in memory after each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(str(folder / "store"))
        publish(store, release_of(make_package(folder / "package", seed=1), "1", store))
        started = time.perf_counter()
        with RunningServer(folder / "home", store.uri) as server:
            wait_until(lambda: httpx.get(f"{server.url}/v2/models/{MODEL}/ready").is_success, "ready")
            memory = [_after(server, REQUESTS // PARTS) for _ in range(PARTS)]
        seconds = time.perf_counter() - started
    print(f"MB after each tenth: {' '.join(f'{value:.1f}' for value in memory)}")
    about = f"{REQUESTS / 1000:,.0f}k requests"
    return [
        at_most(f"server: growth of memory over {about}", MAX_GROWTH, memory[-1] - memory[0], "+.1f", " MB"),
        plain("server: memory at the end", f"{memory[-1]:.0f} MB"),
        plain("server: requests per second of that run", f"{REQUESTS / seconds:,.0f}"),
    ]


def _after(server: RunningServer, requests: int) -> float:
    """MB in memory after so many requests, when all of them are in Delta."""
    load(server.port, BODY, requests=requests)
    server.flush()
    return float(psutil.Process(server.process.pid).memory_info().rss) / 1e6
