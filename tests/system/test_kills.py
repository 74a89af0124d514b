"""Runners of the same partition are killed at random instants, and every row still ends in one place.

PERENNIAL_KILLS says how many kills on a folder store (default 40; on S3 a quarter of them), and
PERENNIAL_SEED which ones. At night: `PERENNIAL_KILLS=200 python -m pytest tests/system/test_kills.py`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from include.lifecycle.data.privacy.erased import remember
from include.lifecycle.data.privacy.pseudonyms import keys_of
from include.lifecycle.data.publishing import content_label, published_table, quarantine_table
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps.leftovers import clean_store
from include.lifecycle.store.connections import environment_connection
from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import Store, open_store
from include.lifecycle.store.receipts import Receipt, read_receipt
from tests.lifecycle import tiny
from tests.lifecycle.ingesting import fates, ingest
from tests.system.deliveries import ERASED, Delivery, deliver, delivery
from tests.system.kill_campaign import STEPS

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = """  rider: {type: string, privacy: pseudonym}
privacy: {key: people, subject: rider}
key: [trip_id]"""
KILLS = int(os.environ.get("PERENNIAL_KILLS") or 40)


@dataclass(frozen=True)
class Fought:
    """A project after a campaign, and the same deliveries in one that nobody disturbed."""

    outcome: dict[str, Any]
    store: Store
    undisturbed: Store

    @property
    def deliveries(self) -> dict[str, Delivery]:
        """What was delivered last for each partition."""
        seed, revisions = self.outcome["seed"], self.outcome["revisions"]
        return {name: delivery(seed, name, revision) for name, revision in revisions.items()}


@pytest.fixture(scope="module", params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def fought(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fought]:
    root = tmp_path_factory.mktemp("kills")
    store, kills = None, KILLS
    if request.param == "s3":
        if "AWS_ENDPOINT_URL" not in os.environ:
            pytest.skip("needs an S3 server (AWS_ENDPOINT_URL)")
        store, kills = Store(f"s3://lake/{uuid.uuid4().hex[:8]}"), max(8, KILLS // 4)
    with pytest.MonkeyPatch.context() as env:
        project = tiny.make_project(root, env, store)
        project.edit("datasets/trips.yaml", "key: [trip_id]", PEOPLE)
        env.setenv("AIRFLOW_CONN_PEOPLE", json.dumps({"login": "k1", "password": "0123456789abcdef" * 2}))
        undisturbed = Store(str(root / "undisturbed"))
        spec = project.catalog.dataset("trips")
        for place in (open_store(), undisturbed):
            remember(spec, ERASED, keys_of(spec, environment_connection), place, {})
        outcome = _campaign(root, kills)
        for name, revision in outcome["revisions"].items():
            deliver(project.landing, name, delivery(outcome["seed"], name, revision))
            ingest(project.catalog.dataset("trips"), name, undisturbed)
        yield Fought(outcome, open_store(), undisturbed)


def _campaign(root: Path, kills: int) -> dict[str, Any]:
    seed = int(os.environ.get("PERENNIAL_SEED") or random.SystemRandom().randrange(10**6))
    scratch = root / "scratch"
    scratch.mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "tests.system.kill_campaign", str(kills), str(seed)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert ended.returncode == 0, f"seed {seed}: {ended.stderr[-5000:]}"
    outcome: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    print(outcome)
    return outcome


def test_kills_hit_every_step_and_a_reader_never_saw_half_a_partition(fought: Fought) -> None:
    hits = fought.outcome["hits"]
    assert set(hits) == set(STEPS)
    assert fought.outcome["versions_read"] >= fought.outcome["rounds"]


def test_every_row_is_published_quarantined_or_a_repeat(fought: Fought) -> None:
    receipts = {_content(receipt, fought.store): receipt for receipt in _receipts(fought.store, "publish")}
    published = published_table("trips", fought.store).partitions()
    assert published.keys() == fought.deliveries.keys()
    for name, delivered in fought.deliveries.items():
        assert delivered.suppressed > 0
        receipt = receipts[name, published[name]]
        counts = receipt.counts
        assert {key: counts[key] for key in delivered.counts} == delivered.counts
        assert counts["rows_in"] == fates(receipt)


def test_the_tables_are_those_of_a_run_without_faults(fought: Fought) -> None:
    for open_table, columns in ((published_table, None), (quarantine_table, ["_partition", "row", "rule"])):
        disturbed, undisturbed = open_table("trips", fought.store), open_table("trips", fought.undisturbed)
        assert _rows(disturbed, columns) == _rows(undisturbed, columns)
    ours = published_table("trips", fought.store).partitions()
    assert ours == published_table("trips", fought.undisturbed).partitions()


def test_the_janitor_removes_what_the_killed_left_and_nothing_that_is_needed(fought: Fought) -> None:
    needed = {output.sha256 for receipt in _receipts(fought.store) for output in receipt.outputs.values()}
    tomorrow = datetime.now(UTC) + timedelta(days=1, minutes=1)
    cleaned = clean_store(fought.store, tomorrow, timedelta(days=1))
    print(f"{len(cleaned.removed)} leftovers of {fought.outcome['hits']}")
    assert cleaned.damaged == ()
    assert {Path(path).name for path in fought.store.list("objects")} == needed
    assert clean_store(fought.store, tomorrow, timedelta(days=1)).removed == ()


def test_every_receipt_is_valid(fought: Fought) -> None:
    assert {receipt.call.step for receipt in _receipts(fought.store)} == set(STEPS)


def _receipts(store: Store, step: str | None = None) -> list[Receipt]:
    """All receipts of a store, each checked with its outputs."""
    keys = [Path(path).stem for path in store.list("receipts/")]
    found = [read_receipt(key, store) for key in keys]
    return [receipt for receipt in found if step in (None, receipt.call.step)]


def _content(receipt: Receipt, store: Store) -> tuple[str, str]:
    """The partition that a publication was about, and the label of what it published."""
    validated = read_receipt(receipt.call.inputs["validate"], store)
    spec = DatasetSpec.model_validate(receipt.call.spec)
    return receipt.call.inputs["partition"], content_label(spec, validated.results["content"])


def _rows(table: Table, columns: list[str] | None) -> list[dict[str, Any]]:
    found = table.dataset()
    assert found is not None
    rows: pa.Table = found.to_table(columns=columns)
    return sorted(rows.to_pylist(), key=str)
