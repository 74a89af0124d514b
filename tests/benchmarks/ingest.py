"""How fast, and in how much memory, is a partition of ten million rows ingested?

`python -m tests.benchmarks ingest` writes a CSV file of ten columns, runs extract, validate and publish on
it in a process of their own, and beside them DuckDB's bare copy of the same file to Parquet with as many
threads. PERENNIAL_INGEST_ROWS changes the number of rows.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.spec.profile import open_profile
from include.lifecycle.store.objects import open_store
from tests.benchmarks.figures import Figure, at_least, at_most, plain, print_figures

ROWS = int(os.environ.get("PERENNIAL_INGEST_ROWS") or 10_000_000)
MAX_MEMORY, MIN_SHARE = 1 << 30, 0.5
PARTITION = "2024-01-01"
THREADS = max(1, (os.cpu_count() or 1) // 2)
"""As in a task of the local stack."""
RIDES = """
description: Rides of one day
partition: day
schedule: {start: 2024-01-01}
source: {type: files, path: "rides/{partition:%Y-%m-%d}.csv", max_size: 4GiB}
columns:
  ride_id: string
  at: timestamp
  city: string
  driver: integer
  distance: number
  minutes: number
  stops: integer
  express: boolean
  price: number
  comment: string
key: [ride_id]
event_time: at
expectations:
  - expect_column_values_to_not_be_null: {column: ride_id}
  - expect_column_values_to_not_be_null: {column: at}
  - expect_column_values_to_be_in_set: {column: city, value_set: [BER, MUC, OSL, NYC, LON]}
  - expect_column_values_to_be_between: {column: distance, min_value: 0, max_value: 1000}
  - expect_column_values_to_be_between: {column: stops, min_value: 0, max_value: 9}
  - expect_column_value_lengths_to_be_between: {column: comment, min_value: 1, max_value: 40}
"""
MAKE = """
COPY (
  SELECT printf('ride-%09d', (i * 7919) % {rows}) AS ride_id,
    strftime(TIMESTAMP '2024-01-01' + to_seconds((hash(i) % 86400)::INT), '%Y-%m-%d %H:%M:%S') AS at,
    ['BER', 'MUC', 'OSL', 'NYC', 'LON'][1 + (hash(i + 1) % 5)::INT] AS city, hash(i + 2) % 5000 AS driver,
    CASE WHEN i % 1000 = 0 THEN 2000 ELSE (hash(i + 3) % 9990) / 10.0 END AS distance,
    (hash(i + 4) % 1200) / 10.0 AS minutes, hash(i + 5) % 10 AS stops, i % 2 = 0 AS express,
    (hash(i + 6) % 20000) / 100.0 AS price, 'note ' || (hash(i + 7) % 100000) AS comment
  FROM range({rows}) AS numbers(i)
) TO '{file}' (FORMAT csv, HEADER)
"""


def run() -> list[Figure]:
    """Ingest and copy the same file; compares memory with the goal and speed with the copy's."""
    with TemporaryDirectory(prefix="perennial-ingest-") as name:
        root = Path(name)
        file = _make(root)
        print(f"{ROWS:,} rows, {file.stat().st_size / 1e6:,.0f} MB, {THREADS} of {os.cpu_count()} cores")
        ours, bare = _measured("steps", root), _measured("copy", root)
    return _figures(ours, bare)


def _make(root: Path) -> Path:
    file = root / "landing/rides" / f"{PARTITION}.csv"
    file.parent.mkdir(parents=True)
    (root / "datasets").mkdir()
    (root / "datasets/rides.yaml").write_text(RIDES)
    (root / "profiles").mkdir()
    (root / "profiles/local.yaml").write_text(f"threads: {THREADS}\nmemory: 512MiB\n")
    with duckdb.connect() as db:
        db.execute(MAKE.format(rows=ROWS, file=file))
    return file


def _measured(way: str, root: Path) -> dict[str, float]:
    """Seconds of each part and peak memory in bytes, of a process that does nothing else."""
    env = {
        **os.environ,
        "PERENNIAL_SPECS": str(root),
        "PERENNIAL_HOME": str(root / "home"),
        "PERENNIAL_LANDING": str(root / "landing"),
        "PERENNIAL_STORE": str(root / "store"),
        "TMPDIR": str(root),
        "OMP_NUM_THREADS": str(THREADS),
    }
    command = [sys.executable, "-m", "tests.benchmarks.ingest", way, str(root)]
    ended = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    for part, value in measured.items():
        if part != "memory":
            print(f"  {way:6} {part:10} {value:8.1f} s")
    return measured


def _figures(ours: dict[str, float], bare: dict[str, float]) -> list[Figure]:
    seconds, copied = (sum(value for key, value in way.items() if key != "memory") for way in (ours, bare))
    print(f"peak memory: steps {ours['memory'] / 1e6:,.0f} MB, copy {bare['memory'] / 1e6:,.0f} MB")
    return [
        at_most("ingest: peak memory", MAX_MEMORY / 1e6, ours["memory"] / 1e6, ".0f", " MB"),
        at_least("ingest: speed, times a bare copy's", MIN_SHARE, copied / seconds, ".2f"),
        plain("ingest: rows a second", f"{ROWS / seconds:,.0f}"),
        plain("ingest: rows a second of the bare copy", f"{ROWS / copied:,.0f}"),
    ]


def _steps(_: Path) -> dict[str, float]:
    """Extract, validate, publish; what they import is part of no step."""
    import great_expectations  # noqa: F401

    from tests.lifecycle.ingesting import fates, ingest

    entered: dict[str, float] = {}
    spec = Catalog(Path(os.environ["PERENNIAL_SPECS"])).dataset("rides")
    receipt = ingest(spec, PARTITION, open_store(), lambda step: entered.update({step: time.monotonic()}))
    ends = [*entered.values(), time.monotonic()][1:]
    assert receipt.counts["rows_in"] == fates(receipt) == ROWS
    assert receipt.counts["quarantined"] == ROWS // 1000
    return {step: end - begun for (step, begun), end in zip(entered.items(), ends, strict=True)}


def _copy(root: Path) -> dict[str, float]:
    """DuckDB alone, with the same threads and memory."""
    profile = open_profile()
    with duckdb.connect() as db, _timed() as seconds:
        db.execute(f"SET threads = {profile.threads}")
        db.execute(f"SET memory_limit = '{profile.memory} bytes'")
        file = root / "landing/rides" / f"{PARTITION}.csv"
        db.execute(f"COPY (SELECT * FROM read_csv('{file}')) TO '{root}/copy.parquet' (FORMAT parquet)")
    return seconds


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    seconds: dict[str, float] = {}
    started = time.monotonic()
    yield seconds
    seconds["copy"] = time.monotonic() - started


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print_figures(run())
    else:
        measured = {"steps": _steps, "copy": _copy}[sys.argv[1]](Path(sys.argv[2]))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({**measured, "memory": memory}))
