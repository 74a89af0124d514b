"""A small source: trips of a taxi company, drawn with a seed, one file a day; and the specs for it."""

from __future__ import annotations

import gzip
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

FIRST = date(2024, 3, 1)
DAYS = 8
"""Days that the champion knows; later ones are for the tests."""
ROWS = 60

DATASET = """\
description: Trips of a small taxi company, one file a day
partition: day
schedule: {start: 2024-03-01}
source:
  type: files
  path: trips/{partition:%Y-%m-%d}.csv.gz
columns:
  trip: string
  at: timestamp
  zone: string
  distance: number
  seats: integer
  delay: {type: number, known_after: 1d}
  refund: {type: number, known_after: 1d}   # the company never filled it in
key: [trip]
event_time: at
expectations:
  - expect_column_values_to_not_be_null: {column: zone}
  - expect_column_values_to_be_between: {column: distance, min_value: 0, max_value: 100}
quarantine: {max_share: 0.1}
"""
MODEL = """\
description: Will a trip be 10 or more minutes late?
rows: trips
label: {column: delay, at_least: 10}
inputs: [zone, distance, seats, at]
training:
  stop: 2d
  gate: 2d
  max_trees: 12
  parameters: {max_depth: 2, learning_rate: 0.3}
  seed: 1
gates:
  - {metric: auc, at_least: 0.5}
governor: {cooldown: 1d, budget: 100}
"""
FEATURES = """\
def features(rows):
    hour = rows["at"].astype("datetime64[h]").astype("int64") % 24
    return {"zone": rows["zone"], "distance": rows["distance"], "seats": rows["seats"], "hour": hour}
"""
REQUEST = {"trip": "x", "at": "2024-03-20T08:00:00Z", "zone": "north", "distance": 12.5, "seats": 2}


def day(number: int) -> str:
    """Name of the partition of the n-th day, counted from 0."""
    return (FIRST + timedelta(days=number)).isoformat()


def trips(partition: str, rows: int = ROWS) -> pd.DataFrame:
    """The trips of one day: the farther, the later."""
    draw = np.random.default_rng(int(partition.replace("-", "")))
    distance = draw.uniform(1, 40, rows).round(2)
    return pd.DataFrame(
        {
            "trip": [f"{partition}-{number:03}" for number in range(rows)],
            "at": [f"{partition}T{hour:02}:00:00Z" for hour in sorted(draw.integers(0, 24, rows))],
            "zone": draw.choice(["north", "south", "harbour"], rows),
            "distance": distance,
            "seats": draw.integers(1, 5, rows),
            "delay": (distance / 3 + draw.normal(0, 3, rows)).round(1),
            "refund": None,
        }
    )


def text_of(rows: pd.DataFrame) -> bytes:
    """Rows as the company writes them."""
    return rows.to_csv(index=False).encode()


def deliver(landing: Path, partition: str, text: bytes | None = None, folder: str = "trips") -> Path:
    """Put the file of a day where it is looked for; by default with the day's good rows."""
    file = landing / folder / f"{partition}.csv.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(text_of(trips(partition)) if text is None else text, mtime=0))
    return file


def write_specs(folder: Path) -> None:
    """Write the dataset `trips` and the model `late`."""
    for name in ("datasets", "models", "profiles"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "datasets/trips.yaml").write_text(DATASET)
    (folder / "models/late.yaml").write_text(MODEL)
    (folder / "models/late.py").write_text(FEATURES)
    (folder / "profiles/local.yaml").write_text("threads: 1\n")
