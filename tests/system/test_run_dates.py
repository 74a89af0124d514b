"""What a person dates as they like in Airflow: a dataset that has ended, by hand and by a backfill."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from include.lifecycle.data.publishing import published_table
from tests.system.world import World

pytestmark = pytest.mark.stack

FIRST, LAST = date(2013, 1, 1), date(2013, 1, 3)
TIDES = """
description: Tides, of three days in 2013
partition: day
schedule: {start: 2013-01-01, end: 2013-01-03}
source: {type: files, path: "tides/{partition:%Y-%m-%d}.csv"}
columns: {reading: string, at: timestamp}
key: [reading]
event_time: at
"""


@pytest.fixture(scope="module")
def tides(world: World) -> Iterator[World]:
    """A dataset whose last day is long ago, switched on."""
    folder = world.landing / "tides"
    folder.mkdir()
    for day in range(FIRST.day, LAST.day + 1):
        (folder / f"2013-01-0{day}.csv").write_text(f"reading,at\n{day},2013-01-0{day}T06:00:00Z\n")
    spec = world.specs / "datasets/tides.yaml"
    spec.write_text(TIDES)
    world.airflow.wait_for_dags({"tides.ingest"})
    world.airflow.unpause("tides.ingest")
    yield world
    spec.unlink()


def _partitions(world: World) -> set[str]:
    return set(published_table("tides", world.store).partitions())


@pytest.mark.parametrize(
    ("dated", "partition"),
    [(datetime.now(UTC), "2013-01-01"), (datetime(2011, 5, 1, tzinfo=UTC), "2013-01-02")],
    ids=["now", "before its start"],
)
def test_a_run_by_hand_ingests_what_its_form_says_whatever_its_date(
    tides: World, dated: datetime, partition: str
) -> None:
    run = tides.airflow.trigger("tides.ingest", {"partition": partition}, dated)
    assert run["state"] == "success"
    states = tides.airflow.task_states("tides.ingest", run["dag_run_id"])
    assert states == dict.fromkeys(("extract", "validate", "publish"), "success")
    assert partition in _partitions(tides)


def test_a_backfill_makes_one_run_for_each_of_its_days(tides: World) -> None:
    assert tides.airflow.backfill("tides.ingest", FIRST, LAST) == 3
    assert _partitions(tides) == {"2013-01-01", "2013-01-02", "2013-01-03"}
    runs: list[dict[str, Any]] = tides.airflow.runs("tides.ingest")
    dates = [run["logical_date"][:10] for run in runs if run["run_type"] == "backfill"]
    assert sorted(dates) == ["2013-01-01", "2013-01-02", "2013-01-03"]


def test_nothing_was_scheduled_meanwhile(tides: World) -> None:
    assert {run["run_type"] for run in tides.airflow.runs("tides.ingest")} == {"manual", "backfill"}
