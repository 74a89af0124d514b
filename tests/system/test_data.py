"""What a data engineer does in Airflow with one dataset: late rows, a mended rule, a person to erase."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.lifecycle.data.publishing import published_table, quarantine_table
from tests.system.world import World

pytestmark = pytest.mark.stack

DAGS = {f"meters.{verb}" for verb in ("ingest", "requeue", "erase")} | {"tables.maintain"}
CITIES, PEOPLE = ("BER", "MUC", "OSL"), ("person-ada", "person-bob")
HOUR = timedelta(hours=1)
METERS = """
description: Meters of people in three cities
partition: hour
lookback: 2
schedule: {{start: {start:%Y-%m-%d}}}
source: {{type: files, path: "meters/{{partition:%Y-%m-%dT%H}}.csv"}}
columns: {{reading: string, at: timestamp, city: string, person: {{type: string, privacy: keep}}}}
key: [reading]
event_time: at
expectations:
  - expect_column_values_to_be_in_set: {{column: city, value_set: [BER, MUC]}}
quarantine: {{max_share: 0.9}}
privacy: {{key: subjects, subject: person}}
"""


@pytest.fixture(scope="module")
def meters(world: World) -> Iterator[World]:
    """Hourly files up to now, and the YAML, whose rule forbids a city by mistake."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    folder = world.landing / "meters"
    folder.mkdir()
    for number in range(48):
        at = now - number * HOUR
        lines = [
            f"{at:%dT%H}-{city}-{person},{at:%Y-%m-%dT%H:00:00Z},{city},{person}"
            for city in CITIES
            for person in PEOPLE
        ]
        (folder / f"{at:%Y-%m-%dT%H}.csv").write_text("\n".join(["reading,at,city,person", *lines]))
    (world.specs / "datasets/meters.yaml").write_text(METERS.format(start=now - timedelta(days=1)))
    subjects = {"connection_id": "subjects", "conn_type": "generic", "login": "one", "password": "k" * 40}
    world.airflow.send("POST", "/connections", subjects)
    world.airflow.wait_for_dags(DAGS)
    for dag_id in DAGS:
        world.airflow.unpause(dag_id)
    world.airflow.wait_for_run("meters.ingest", set())
    yield world
    (world.specs / "datasets/meters.yaml").unlink()


def _rows(world: World) -> list[dict[str, Any]]:
    rows: Any = published_table("meters", world.store).dataset()
    found: list[dict[str, Any]] = rows.to_table().to_pylist()
    return found


def _tasks(world: World, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    found = world.airflow.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", {})
    tasks: list[dict[str, Any]] = found["task_instances"]
    return tasks


def test_a_scheduled_run_reads_its_hour_and_the_two_before_each_under_its_name(meters: World) -> None:
    (run,) = [run for run in meters.airflow.runs("meters.ingest") if run["run_type"] == "scheduled"]
    hours = set(published_table("meters", meters.store).partitions())
    own = datetime.fromisoformat(run["data_interval_start"])
    assert hours == {f"{own - number * HOUR:%Y-%m-%dT%H}" for number in range(3)}
    for task_id in ("extract", "validate", "publish"):
        tasks = _tasks(meters, "meters.ingest", run["dag_run_id"])
        shown = {task["rendered_map_index"] for task in tasks if task["task_id"] == task_id}
        assert shown == hours
    assert len(_rows(meters)) == 3 * 2 * len(PEOPLE)


def test_a_mended_rule_brings_rows_back_from_quarantine(meters: World) -> None:
    spec = meters.specs / "datasets/meters.yaml"
    spec.write_text(spec.read_text().replace("[BER, MUC]", "[BER, MUC, OSL]"))

    run = meters.airflow.trigger("meters.requeue", {})

    assert run["state"] == "success"
    rows = _rows(meters)
    assert len(rows) == len({row["reading"] for row in rows}) == 3 * len(CITIES) * len(PEOPLE)
    quarantined: Any = quarantine_table("meters", meters.store).dataset()
    assert quarantined.count_rows() == 0


def test_with_nothing_in_quarantine_a_requeue_is_skipped(meters: World) -> None:
    version = published_table("meters", meters.store).version()
    run = meters.airflow.trigger("meters.requeue", {})
    assert {task["state"] for task in _tasks(meters, "meters.requeue", run["dag_run_id"])} == {"skipped"}
    assert published_table("meters", meters.store).version() == version


def test_a_person_is_erased_and_no_log_says_who(meters: World) -> None:
    subject = PEOPLE[0]
    run = meters.airflow.trigger("meters.erase", {"secret_subject": subject, "reason": "a letter"})
    assert run["state"] == "success"
    assert {row["person"] for row in _rows(meters)} == {PEOPLE[1]}
    place = f"/dags/meters.erase/dagRuns/{run['dag_run_id']}/taskInstances/erase"
    for path in (f"{place}/logs/1", f"{place}/xcomEntries/return_value"):
        assert subject not in json.dumps(meters.airflow.get(path, {}))


def test_all_tables_are_maintained(meters: World) -> None:
    run = meters.airflow.trigger("tables.maintain", {})
    assert run["state"] == "success"
    assert len(_rows(meters)) == 3 * len(CITIES)
