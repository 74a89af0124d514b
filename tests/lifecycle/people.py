"""The tiny project's trips with the people who make them: mail, name, birth date and post code."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from include.lifecycle.data.privacy.pseudonyms import keys_of
from include.lifecycle.data.publishing import published_table
from include.lifecycle.errors import LifecycleError, Rejected
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.steps import extract, publish, validate
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.connections import Connection, Connections
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project

KEY = "0123456789abcdef0123456789abcdef"
NEXT_KEY = "fedcba9876543210fedcba9876543210"
COLUMNS = """  delay: {type: number, known_after: 1d}
  rider: {type: string, privacy: pseudonym}
  full_name: {type: string, privacy: drop}
  born: {type: timestamp, privacy: {generalise: {period: year}}}
  post_code: {type: string, privacy: {generalise: {prefix: 2}}}
privacy:
  key: people
  subject: rider
  untreated: stop
  quasi_identifiers: [born, post_code]
  k: 3
"""
RIDERS = 8
ADA = "ada.lovelace@example.org"
ADA_RIDES_FROM = 10


def connections_with(*, login: str = "k1", password: str = KEY, **retired: str) -> Connections:
    """Connections that know `people` alone, which holds the keys."""

    def find(name: str) -> Connection:
        if name != "people":
            raise Rejected(f"connection {name!r}: not found")
        return Connection(login=login, password=password, extra={"secret_keys": retired})

    return find


connections = connections_with()


def make_private(root: Path, env: pytest.MonkeyPatch) -> Project:
    """A tiny project whose trips are about people."""
    project = tiny.make_project(root, env)
    project.edit("datasets/trips.yaml", "  delay: {type: number, known_after: 1d}\n", COLUMNS)
    return project


def rides(day: int, count: int = 60) -> pd.DataFrame:
    """The trips of one day with their riders; Ada takes three a day from the tenth day on."""
    rows = tiny.trips(day, count)
    riders = np.random.default_rng(500 + day).integers(0, RIDERS, count)
    rows["rider"] = [f"rider{number}.secret@example.org" for number in riders]
    rows["full_name"] = [f"Zyxwvut Number{number}" for number in riders]
    rows["born"] = [f"{1960 + number % 2}-05-{number + 11}" for number in riders]
    rows["post_code"] = [f"QX{number} 4ZP" for number in riders]
    if day >= ADA_RIDES_FROM:
        hers = [2, 20, 40]
        rows.loc[hers, ["rider", "full_name", "born", "post_code"]] = [ADA, "Ada", "1960-12-10", "QX7 1AL"]
    return rows


RAW = [
    *(f"rider{number}.secret" for number in range(RIDERS)),
    *(f"{1960 + number % 2}-05-{number + 11}" for number in range(RIDERS)),
    *(f"QX{number} 4ZP" for number in range(RIDERS)),
    "Zyxwvut",
    "ada.lovelace",
    "1960-12-10",
]


def ingest(
    project: Project, rows: pd.DataFrame, partition: str, known: Connections = connections
) -> tuple[Receipt, Receipt, Receipt]:
    """Extract, validate and publish one partition of trips; returns the receipts."""
    tiny.deliver(project, rows, "trips", partition)
    return ingest_delivered(project, partition, known)


def ingest_delivered(
    project: Project, partition: str, known: Connections = connections
) -> tuple[Receipt, Receipt, Receipt]:
    """Extract, validate and publish what was delivered before."""
    store, spec = project.store, open_catalog().dataset("trips")
    extracted, _ = run_step(extract.plan(spec, partition, store, known), store, known)
    staged, suppressed = extracted.outputs["staged"], extracted.counts["suppressed"]
    validated, _ = run_step(validate.plan(spec, partition, staged, suppressed, store), store, known)
    over = published_table("trips", store).publication(partition)
    published, _ = run_step(publish.plan(validated, over, store), store, known)
    return extracted, validated, published


def ingest_days(project: Project, first: int, last: int) -> None:
    """Ingest trips and publish the sky of a span of days."""
    for day in range(first, last + 1):
        name = f"{tiny.midnight(day):%Y-%m-%d}"
        tiny.put(project, "sky", name, tiny.sky(day))
        ingest(project, rides(day), name)


def put_days(project: Project, first: int, last: int) -> None:
    """Publish treated trips, and the sky, of a span of days without the audit."""
    spec = open_catalog().dataset("trips")
    key = keys_of(spec, connections).current
    for day in range(first, last + 1):
        name, rows = f"{tiny.midnight(day):%Y-%m-%d}", rides(day)
        rows["rider"] = rows["rider"].map(key.pseudonym)
        rows["born"] = pd.to_datetime(rows["born"].str[:4], format="%Y", utc=True)
        rows["post_code"] = rows["post_code"].str[:2]
        tiny.put(project, "sky", name, tiny.sky(day))
        tiny.put(project, "trips", name, rows)


def everything(store: Store) -> Iterator[tuple[str, str]]:
    """Every file of a store with all that can be read in it, Parquet unpacked."""
    for file in sorted(Path(store.uri).rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            text = content.decode("latin-1")
            if content[:4] == b"PAR1":
                text += pq.read_table(io.BytesIO(content)).to_pandas().to_csv() + str(pq.read_metadata(file))
            yield str(file.relative_to(store.uri)), f"{file}\n{text}"


class Dies(Store):
    """A store that goes away after so many removals."""

    def __init__(self, uri: str, after: int) -> None:
        super().__init__(uri)
        self.left = after

    def remove(self, path: str) -> None:
        if self.left == 0:
            raise LifecycleError("the store went away")
        self.left -= 1
        super().remove(path)
