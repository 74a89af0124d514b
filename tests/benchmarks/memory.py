"""In how much memory are fifty million rows learned from, and how long does it take?

`python -m tests.benchmarks memory` publishes a table of that many rows and ten inputs, and trains ten
rounds with `external_memory`: in a pod of 4 GiB where KUBECONFIG names a cluster and AWS_ENDPOINT_URL an
S3 server for it, else in a process of its own with a store in a folder. PERENNIAL_MEMORY_ROWS changes the
number of rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from include.lifecycle.data.publishing import content_label, published_table
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.steps import train
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, read_receipt, write_call
from tests.benchmarks.figures import Figure, at_most, plain, print_figures
from tests.docker.cluster import ROOT, built_image, deployed, step_pod
from tests.docker.pods import pod_environment

ROWS = int(os.environ.get("PERENNIAL_MEMORY_ROWS") or 50_000_000)
LIMIT = 4 << 30
DAYS = 25
PATIENCE = 3 * 3600
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
NUMBERS = [f"number_{place}" for place in range(9)]
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
  delay: {{type: number, known_after: 1d}}
key: [ride_id]
event_time: at
"""
LATE = f"""
description: Will a ride be late?
rows: rides
label: {{column: delay, at_least: 10}}
inputs: [city, {", ".join(NUMBERS)}]
training:
  stop: 2d
  gate: 1d
  max_trees: 10
  min_trees: 10
  parameters: {{max_depth: 6, eval_metric: logloss}}
  external_memory: true
"""
FEATURES = f"def features(rows):\n    return {{name: rows[name] for name in ['city', *{NUMBERS}]}}\n"
MAKE = """
COPY (
  SELECT i AS ride_id, TIMESTAMPTZ '{day}' + to_microseconds(i % {rows} * {step}) AS at,
    ['BER', 'MUC', 'OSL', 'NYC', 'LON'][1 + (hash(i) % 5)::INT] AS city, {numbers},
    (hash(i + 1) % 1000 + hash(i + 2) % 1000) / 100.0 - hash(i) % 5.0 + hash(-i) % 8.0 - 3 AS delay
  FROM range({start}, {start} + {rows}) AS ids(i)
) TO '{file}' (FORMAT parquet, COMPRESSION zstd)
"""
NUMBER = "CASE WHEN hash(i + {place}) % 50 > 0 THEN (hash(i + {place}) % 1000)::DOUBLE END AS {name}"


def run() -> list[Figure]:
    """Train on all rows; compares the peak of the process's memory with that of the pod."""
    pod = bool(os.environ.get("KUBECONFIG") and os.environ.get("AWS_ENDPOINT_URL"))
    with TemporaryDirectory(prefix="perennial-memory-") as name:
        root = Path(name)
        store = Store(f"s3://lake/memory-{uuid.uuid4().hex}" if pod else str(root / "store"))
        try:
            call = _published(root, store)
            (_in_pod if pod else _in_process)(call, root, store)
            receipt = read_receipt(call.run_key, store)
        finally:
            for path in store.list(""):
                store.remove(path)
    assert receipt.counts["rows"] == ROWS // DAYS * DAYS
    assert receipt.attempt is not None
    used = receipt.attempt.usage
    peak = used.memory_gib_seconds / used.seconds * (1 << 30)
    where = "in a pod of 4 GiB" if pod else "in a process"
    print(f"{receipt.counts}, {receipt.results['trees']} trees, {where}")
    return [
        at_most(f"memory: peak of {ROWS / 1e6:g}M rows {where}", LIMIT / 1e6, peak / 1e6, ".0f", " MB"),
        plain("memory: bytes a row", f"{peak / ROWS:.0f}"),
        plain("memory: seconds of the training", f"{used.seconds:,.0f}"),
    ]


def _published(root: Path, store: Store) -> Call:
    """The training of rows that are published, day by day."""
    specs = {"datasets/rides.yaml": RIDES, "models/late.yaml": LATE, "models/late.py": FEATURES}
    for path, text in specs.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    catalog, rows, file = Catalog(root), ROWS // DAYS, root / "day.parquet"
    spec = catalog.dataset("rides")
    numbers = ", ".join(NUMBER.format(name=name, place=place) for place, name in enumerate(NUMBERS, 1))
    for day in range(DAYS):
        moment = FIRST_DAY + timedelta(days=day)
        about = {"day": moment, "rows": rows, "step": 86_400_000_000 // rows, "start": 1 + day * rows}
        with duckdb.connect() as db:
            db.execute(MAKE.format(**about, numbers=numbers, file=file))
        content = content_label(spec, str(day))
        published_table(spec.name, store).publish(f"{moment:%Y-%m-%d}", content, file, "by-hand")
    call = train.plan(catalog.model("late"), catalog, FIRST_DAY + timedelta(days=DAYS + 1), store)
    write_call(call, store)
    return call


def _in_pod(call: Call, root: Path, store: Store) -> None:
    """Run the call in a pod, which is killed for more than its limit."""
    image = built_image()
    with deployed(f"perennial-bench-{uuid.uuid4().hex[:8]}", root / "manifests") as cluster:
        cluster.share("perennial-store", pod_environment(store.uri, os.environ["PERENNIAL_S3_POD_ENDPOINT"]))
        pod = step_pod(image, call.run_key)
        pod["spec"]["activeDeadlineSeconds"] = PATIENCE
        container = pod["spec"]["containers"][0]
        container["env"] = [{"name": name, "value": value} for name, value in _told(call).items()]
        container["resources"] = {"requests": {"cpu": "1"}, "limits": {"memory": str(LIMIT)}}
        code, said = cluster.run(pod, patience=PATIENCE)
        assert code == 0, f"exit code {code} (137: killed for its memory): {said}"


def _in_process(call: Call, root: Path, store: Store) -> None:
    """Run the call in a process that does nothing else."""
    env = {**os.environ, **_told(call), "PERENNIAL_STORE": store.uri, "TMPDIR": str(root)}
    subprocess.run([sys.executable, "-m", "include.lifecycle.steps"], cwd=ROOT, env=env, check=True)


def _told(call: Call) -> dict[str, str]:
    """What a pod of `compute` with that memory is told."""
    return {"PERENNIAL_CALL": call.run_key, "PERENNIAL_THREADS": "1", "PERENNIAL_MEMORY": str(LIMIT // 2)}


if __name__ == "__main__":
    print_figures(run())
