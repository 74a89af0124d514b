"""How many rows a second are scored as a table, and in how much memory?

`python -m tests.benchmarks scoring` publishes 25 days of 100,000 rows, which are joined with the weather of
their hour, and one more day with 2 million. It scores half a million rows, 2 million, and the large day,
each in a process of its own with one thread, and compares their peaks. PERENNIAL_SCORING_ROWS changes
the number of rows of a day.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from include.lifecycle.data.publishing import published_table
from include.lifecycle.data.spans import Span
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.steps import score, train
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt, read_receipt, write_call
from tests.benchmarks.figures import Figure, at_least, at_most, plain, print_figures

ROWS = int(os.environ.get("PERENNIAL_SCORING_ROWS") or 100_000)
FEW, MANY = 5, 20
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
MEMORY = 512 << 20
"""Of DuckDB."""
MIN_RATE, MAX_GROWTH, MAX_LARGE_DAY = 20_000, 1.15, 2.0
NUMBERS = [f"number_{place}" for place in range(8)]
RIDES = f"""
description: Rides of a day
partition: day
schedule: {{start: 2024-01-01}}
source: {{type: files, path: "rides/{{partition:%Y-%m-%d}}.csv"}}
columns:
  ride_id: integer
  at: timestamp
  city: string
  {"".join(f"{name}: number{chr(10)}  " for name in NUMBERS)}
  delay: {{type: number, known_after: 1h}}
key: [ride_id]
event_time: at
"""
SKY = """
description: Rain per city and hour
partition: day
schedule: {start: 2024-01-01}
source: {type: files, path: "sky/{partition:%Y-%m-%d}.csv"}
columns: {city: string, at: timestamp, rain: number}
key: [city, at]
event_time: at
"""
LATE = f"""
description: Will a ride be late?
rows: rides
joins:
  - {{dataset: sky, by: [city], lag: 1h, tolerance: 3h}}
label: {{column: delay, at_least: 10}}
inputs: [city, rain, at, {", ".join(NUMBERS)}]
training:
  history: 3d
  stop: 1d
  gate: 1d
  max_trees: 100
  min_trees: 100
  parameters: {{max_depth: 5, eval_metric: logloss}}
"""
FEATURES = f"""
def features(rows):
    hour = rows["at"].astype("datetime64[h]").astype("int64") % 24
    return {{"hour": hour, **{{name: rows[name] for name in ["city", "rain", *{NUMBERS}]}}}}
"""
CITIES = "['BER', 'MUC', 'OSL', 'NYC', 'LON']"
MAKE_RIDES = f"""
COPY (
  SELECT {{start}} + i AS ride_id, TIMESTAMPTZ '{{day}}' + to_microseconds(i * {{step}}) AS at,
    {CITIES}[1 + (hash(i) % 5)::INT] AS city, {{numbers}},
    (hash(i + 1) % 1000 + hash(i + 2) % 1000) / 100.0 - hash(i) % 5.0 AS delay
  FROM range({{rows}}) AS ids(i)
) TO '{{file}}' (FORMAT parquet, COMPRESSION zstd)
"""
MAKE_SKY = f"""
COPY (
  SELECT city, TIMESTAMPTZ '{{day}}' + to_hours(h::INT) AS at, (hash(h) % 100) / 10.0 AS rain
  FROM range(24) AS hours(h), (SELECT unnest({CITIES}) AS city)
) TO '{{file}}' (FORMAT parquet)
"""
NUMBER = "CASE WHEN hash(i + {place}) % 50 > 0 THEN (hash(i + {place}) % 1000)::DOUBLE END AS {name}"


@dataclass(frozen=True)
class Measured:
    """What scoring a span took."""

    rows: int
    seconds: float
    cpu: float
    """Seconds of all its threads."""
    peak: float
    """MB."""


def run() -> list[Figure]:
    """Score few rows, many, and as many that are one partition."""
    with TemporaryDirectory(prefix="perennial-scoring-") as name:
        root = Path(name)
        store = Store(str(root / "store"))
        catalog = _published(root, store)
        _trained(catalog, store)
        many = _scored(0, MANY, root, store)
        few = _scored(MANY, FEW, root, store)
        large = _scored(MANY + FEW, 1, root, store)
    for found in (few, many, large):
        spent = f"{found.seconds:.1f} s ({found.cpu:.1f} s of a core)"
        print(f"{found.rows:,} rows in {spent}, peak {found.peak:.0f} MB")
    millions = f"{many.rows / 1e6:g}M rows"
    return [
        plain(f"scoring: rows a second of {millions}", f"{many.rows / many.seconds:,.0f}"),
        at_least("scoring: rows a second of a core", MIN_RATE, many.rows / many.cpu, ",.0f"),
        plain(f"scoring: peak of {few.rows / 1e6:g}M rows", f"{few.peak:.0f} MB"),
        plain(f"scoring: peak of {millions}", f"{many.peak:.0f} MB"),
        at_most("scoring: growth with four times the rows", MAX_GROWTH, many.peak / few.peak, ".2f"),
        at_most("scoring: the same in one partition", MAX_LARGE_DAY, large.peak / few.peak, ".2f"),
    ]


def _published(root: Path, store: Store) -> Catalog:
    """The specs of a project whose rows are published."""
    specs = {
        "datasets/rides.yaml": RIDES,
        "datasets/sky.yaml": SKY,
        "models/late.yaml": LATE,
        "models/late.py": FEATURES,
    }
    for path, text in specs.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    numbers = ", ".join(NUMBER.format(name=name, place=place) for place, name in enumerate(NUMBERS, 1))
    for number in range(MANY + FEW + 1):
        day = FIRST_DAY + timedelta(days=number)
        rows = ROWS if number < MANY + FEW else MANY * ROWS
        about = {"rows": rows, "step": 86_400_000_000 // rows, "start": number * ROWS, "numbers": numbers}
        for dataset, make in {"rides": MAKE_RIDES, "sky": MAKE_SKY}.items():
            file = root / f"{dataset}.parquet"
            with duckdb.connect() as db:
                db.execute("SET TimeZone = 'UTC'")
                db.execute(make.format(day=day, file=file, **about))
            published_table(dataset, store).publish(f"{day:%Y-%m-%d}", str(number), file, "by-hand")
    return Catalog(root)


def _trained(catalog: Catalog, store: Store) -> None:
    """A version in the ledger."""
    call = train.plan(catalog.model("late"), catalog, FIRST_DAY + timedelta(days=4), store)
    receipt, _ = run_step(call, store)
    said = {"why": "measured", "actor": "benchmark", "run_id": "benchmark"}
    told = {"version": "1", "run_key": receipt.run_key}
    Ledger(store, "late").append("proposed", after=[], as_of=call.as_of, **said, **told)


def _scored(first: int, days: int, root: Path, store: Store) -> Measured:
    """Score some days in a process that does nothing else."""
    begin = FIRST_DAY + timedelta(days=first)
    call = score.plan("late", "1", Span(begin, begin + timedelta(days=days)), store)
    assert call is not None
    write_call(call, store)
    told = {"PERENNIAL_CALL": call.run_key, "PERENNIAL_THREADS": "1", "PERENNIAL_MEMORY": str(MEMORY)}
    env = {**os.environ, **told, "PERENNIAL_STORE": store.uri, "TMPDIR": str(root)}
    subprocess.run([sys.executable, "-m", "include.lifecycle.steps"], cwd=ROOT, env=env, check=True)
    return _measured(read_receipt(call.run_key, store))


def _measured(receipt: Receipt) -> Measured:
    assert receipt.counts["rows_scored"] == receipt.counts["rows_in"]
    assert receipt.attempt is not None
    used = receipt.attempt.usage
    peak = used.memory_gib_seconds / used.seconds * (1 << 30) / 1e6
    return Measured(receipt.counts["rows_scored"], used.seconds, used.cpu_seconds, peak)


if __name__ == "__main__":
    print_figures(run())
