"""A tiny project: two datasets, one model, its features; rows drawn with a seed, published for real."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.lifecycle.data.publishing import content_label, published_table
from include.lifecycle.data.types import arrow_schema
from include.lifecycle.model.gates import Verdict
from include.lifecycle.release.decisions import Actor, begin_training, propose, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.moves import move
from include.lifecycle.release.state import ModelState, Proposal, Training
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps import train
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.ledger import Entry, Ledger
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt

MODEL = "late"
FIRST_DAY = date(2024, 1, 1)
CITIES = ("BER", "MUC", "OSL")
ACTOR = Actor(name="tester", run_id="late.train/one")
PASSED = Verdict(passed=True, why="no gates")

TRIPS = """
description: Trips between cities, one file a day
tags: [tiny]
partition: day
schedule: {start: 2024-01-01, end: 2024-12-31}
source: {type: files, path: "trips/{partition:%Y-%m-%d}.csv"}
columns:
  trip_id: string
  at: timestamp
  city: string
  distance: number
  stops: integer
  express: boolean
  delay: {type: number, known_after: 1d}
key: [trip_id]
event_time: at
expectations:
  - expect_column_values_to_not_be_null: {column: at}
  - expect_column_values_to_be_in_set: {column: city, value_set: [BER, MUC, OSL]}
  - expect_column_values_to_be_between: {column: distance, min_value: 1, max_value: 1000}
quarantine: {max_share: 0.5}
"""
SKY = """
description: Rain per city and hour, one file a day
partition: day
schedule: {start: 2024-01-01}
source: {type: files, path: "sky/{partition:%Y-%m-%d}.csv"}
columns: {city: string, at: timestamp, rain: number}
key: [city, at]
event_time: at
"""
LATE = """
description: Will a trip arrive 10 minutes late?
owner: tester
rows: trips
joins:
  - {dataset: sky, by: [city], lag: 1h, tolerance: 3h}
label: {column: delay, at_least: 10}
inputs: [city, distance, stops, express, at, rain]
training:
  stop: 4d
  gate: 3d
  max_trees: 30
  min_trees: 5
  patience: 5
  parameters: {max_depth: 3, learning_rate: 0.3, eval_metric: logloss}
  seed: 3
gates:
  - {metric: auc, at_least: 0.6}
  - {metric: brier, worse_by_at_most: 0.05}
monitoring: {lookback: 3d, min_rows: 20, sample: 200}
governor: {bad_windows: 2, of_last: 3, cooldown: 3d, budget: 2, budget_period: 30d, max_age: 20d}
"""
SEARCH = """
search:
  space:
    max_depth: {int: [2, 5]}
    learning_rate: {float: [0.05, 0.5], log: true}
    grow_policy: {categorical: [depthwise, lossguide]}
  trials: 6
  parallel: 2
  segment: 5
  seed: 1
"""
FEATURES = b"""
import numpy as np


def features(rows):
    return {
        "city": rows["city"],
        "distance": rows["distance"],
        "stops": rows["stops"],
        "express": rows["express"],
        "hour": rows["at"].astype("datetime64[h]").astype("int64") % 24,
        "rain": rows["rain"],
    }
"""
PROFILE = "threads: 1\nmemory: 1GiB\n"


@dataclass(frozen=True)
class Project:
    """Specs, landing folder and store of a project in a folder."""

    root: Path
    store: Store

    @property
    def specs(self) -> Path:
        """Where the YAML files lie."""
        return self.root / "specs"

    @property
    def landing(self) -> Path:
        """Where the source's files arrive."""
        return self.root / "landing"

    @property
    def catalog(self) -> Catalog:
        """The specs, read."""
        return Catalog(self.specs)

    @property
    def ledger(self) -> Ledger:
        """The model's ledger."""
        return Ledger(self.store, MODEL)

    def state(self) -> ModelState:
        """What the ledger says now."""
        return fold(self.ledger.entries())

    def add(self, file: str, text: str) -> None:
        """Append to a spec as a person would."""
        end = (self.specs / file).read_text()[-20:]
        self.edit(file, end, end + text)

    def edit(self, file: str, old: str, new: str) -> None:
        """Change a spec as a person would."""
        path = self.specs / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        later = path.stat().st_mtime_ns + 1_000_000_000
        os.utime(path, ns=(later, later))


def make_project(root: Path, env: pytest.MonkeyPatch, store: Store | None = None) -> Project:
    """Write the specs into a folder and point the environment at it."""
    for file, text in {
        "datasets/trips.yaml": TRIPS,
        "datasets/sky.yaml": SKY,
        "models/late.yaml": LATE,
        "profiles/local.yaml": PROFILE,
    }.items():
        path = root / "specs" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "specs/models/late.py").write_bytes(FEATURES)
    return enter(root, env, store)


def enter(root: Path, env: pytest.MonkeyPatch, store: Store | None = None) -> Project:
    """Point the environment at a project that is there."""
    env.setenv("PERENNIAL_SPECS", str(root / "specs"))
    env.setenv("PERENNIAL_HOME", str(root / "home"))
    env.setenv("PERENNIAL_LANDING", str(root / "landing"))
    env.setenv("PERENNIAL_STORE", store.uri if store else str(root / "store"))
    env.delenv("PERENNIAL_PROFILE", raising=False)
    return Project(root, store or Store(str(root / "store")))


def learn_by(project: Project, estimator: str, parameters: str = "{}", model: str = MODEL) -> None:
    """Let a model, new where there is none of the name, be learned by an estimator of scikit-learn's."""
    head, rest = LATE.split("training:\n")
    training = f"training: {{gate: 3d, estimator: {estimator}, parameters: {parameters}, seed: 3}}\n"
    path = project.specs / f"models/{model}.yaml"
    path.write_text(f"features: late.py\n{head}{training}{rest[rest.index('gates:') :]}")


def copy_of(template: Path, root: Path, env: pytest.MonkeyPatch) -> Project:
    """A project of its own, with everything that the template holds."""
    shutil.copytree(template, root)
    return enter(root, env)


def midnight(day: int) -> datetime:
    """Start of the n-th day of the tiny world, counted from 1."""
    return datetime.combine(FIRST_DAY, time(), UTC) + timedelta(days=day - 1)


def trips(day: int, count: int = 60) -> pd.DataFrame:
    """The trips of one day; long ones in the rain are late."""
    draw = np.random.default_rng(day)
    at = pd.Timestamp(midnight(day)) + pd.to_timedelta(draw.integers(0, 24 * 60, count), unit="min")
    rows = pd.DataFrame(
        {
            "trip_id": [f"{day:03}-{number:04}" for number in range(count)],
            "at": at,
            "city": draw.choice(CITIES, count),
            "distance": draw.uniform(1, 1000, count).round(1),
            "stops": draw.integers(0, 4, count),
            "express": draw.integers(0, 2, count).astype(bool),
        }
    )
    hour = rows["at"].dt.hour.to_numpy()
    rows["delay"] = (rows["distance"] / 40 + 3 * rows["stops"] - hour / 4 + draw.normal(0, 4, count)).round(1)
    return rows


def sky(day: int) -> pd.DataFrame:
    """The rain of one day at every full hour."""
    draw = np.random.default_rng(1000 + day)
    hours = pd.Timestamp(midnight(day)) + pd.to_timedelta(np.arange(24), unit="h")
    rows = pd.DataFrame([(city, hour) for city in CITIES for hour in hours], columns=["city", "at"])
    return rows.assign(rain=draw.exponential(1, len(rows)).round(2))


def deliver(project: Project, rows: pd.DataFrame, dataset: str, partition: str) -> Path:
    """Put a partition's file where the source expects it."""
    file = project.landing / dataset / f"{partition}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(file, index=False)
    return file


def put(project: Project, dataset: str, partition: str, rows: pd.DataFrame) -> int:
    """Publish rows without the audit; returns the table's version."""
    spec = project.catalog.dataset(dataset)
    return put_rows(spec, partition, rows, project.store, project.root)


def put_rows(spec: DatasetSpec, partition: str, rows: pd.DataFrame, store: Store, scratch: Path) -> int:
    """Publish rows of a dataset without the audit; returns the table's version."""
    file = scratch / "rows.parquet"
    write_rows(spec, rows, file)
    content = content_label(spec, store.keep_file(file).sha256)
    return published_table(spec.name, store).publish(partition, content, file, "by-hand")[0]


def write_rows(spec: DatasetSpec, rows: pd.DataFrame, file: Path) -> None:
    """Write typed rows to Parquet, as an audit leaves them."""
    schema = arrow_schema(spec)
    pq.write_table(pa.Table.from_pandas(rows[schema.names], schema=schema, preserve_index=False), file)


def write_held_back(count: int, file: Path) -> None:
    """Write rows to Parquet that broke a rule, as an audit leaves them."""
    rows = [f'{{"trip_id":"bad-{number}"}}' for number in range(count)]
    table = {"row": rows, "rule": ["rule"] * count, "run_key": ["audit"] * count}
    pq.write_table(pa.table({name: pa.array(texts, pa.string()) for name, texts in table.items()}), file)


def put_days(project: Project, first: int, last: int) -> None:
    """Publish trips and sky of a span of days."""
    for day in range(first, last + 1):
        name = f"{midnight(day):%Y-%m-%d}"
        put(project, "sky", name, sky(day))
        put(project, "trips", name, trips(day))


def train_as_of(project: Project, as_of: datetime) -> Receipt:
    """Train the model on what is published, as of a moment."""
    call = train.plan(project.catalog.model(MODEL), project.catalog, as_of, project.store)
    return run_step(call, project.store)[0]


def proposal_of(trained: Receipt, version: str) -> Proposal:
    """A proposal of a training's version."""
    return Proposal(version=version, run_key=trained.run_key, as_of=trained.call.as_of, evaluation="e" * 64)


def propose_version(
    project: Project, trained: Receipt, version: str, actor: Actor = ACTOR, *, drift: bool = False
) -> Proposal:
    """Write a training and its proposal into the ledger."""
    training = Training(
        run_key=trained.run_key,
        as_of=trained.call.as_of,
        fingerprint=train.fingerprint(trained.call),
        drift=drift,
    )
    record(project.ledger, begin_training(training, "a test", actor), actor)
    proposal = proposal_of(trained, version)
    record(project.ledger, propose(proposal, "passed"), actor)
    return proposal


def crown(project: Project, trained: Receipt, version: str) -> Proposal:
    """Make a training's version champion, in the ledger."""
    proposal = propose_version(project, trained, version)
    promote(project.ledger, version)
    return proposal


def promote(ledger: Ledger, version: str, why: str = "a test", actor: Actor = ACTOR) -> Entry | None:
    """Take a proposed version to all users at once; returns what was decided at the end."""
    for stage in ("staged", "approved"):
        record(ledger, move(version, stage, why), actor)
    return record(ledger, move(version, "promoted", why), actor)
