from __future__ import annotations

from typing import Any

import pytest

from include.lifecycle.data.publishing import published_table, quarantine_table
from include.lifecycle.errors import Rejected
from include.lifecycle.steps import publish
from include.lifecycle.steps.requeueing import (
    Quarantined,
    plan_revalidation,
    quarantined_partitions,
)
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.objects import object_path
from include.lifecycle.store.receipts import Receipt, read_call
from tests.lifecycle import tiny
from tests.lifecycle.ingesting import fates, ingest
from tests.lifecycle.tiny import Project

DAYS = ("2024-01-03", "2024-01-04")
BROKEN = ("value_set: [BER, MUC, OSL]", "value_set: [BER, MUC]")
IN_SET = "expect_column_values_to_be_in_set"


@pytest.fixture
def quarantined(project: Project) -> Project:
    """Two days, ingested by a rule that forbids a city by mistake; some rows of the first are bad anyway."""
    project.edit("datasets/trips.yaml", *BROKEN)
    for number, day in enumerate(DAYS, start=3):
        rows = tiny.trips(number)
        if day == DAYS[0]:
            rows.loc[rows.index[:5], "distance"] = 5000.0
            rows.loc[rows.index[5:9], "trip_id"] = rows["trip_id"].iloc[9]
        tiny.deliver(project, rows, "trips", day)
        assert fates(_ingest(project, day)) == 60
    return project


def _ingest(project: Project, day: str) -> Receipt:
    return ingest(project.catalog.dataset("trips"), day, project.store)


def _requeue(project: Project, found: Quarantined) -> Receipt:
    """What the DAG does with one partition."""
    call = plan_revalidation(project.catalog.dataset("trips"), found, project.store)
    validated, _ = run_step(call, project.store)
    return run_step(publish.plan(validated, found.over, project.store), project.store)[0]


def _find(project: Project, **asked: str) -> list[Quarantined]:
    return quarantined_partitions(project.catalog.dataset("trips"), project.store, **asked)


def _in_quarantine(project: Project) -> list[tuple[str, str]]:
    """Partition and rule of each row in quarantine."""
    rows: Any = quarantine_table("trips", project.store).dataset()
    return [(row["_partition"], row["rule"]) for row in rows.to_table().to_pylist()]


def _published(project: Project) -> list[str]:
    rows: Any = published_table("trips", project.store).dataset()
    return sorted(rows.to_table(columns=["trip_id"])["trip_id"].to_pylist())


def test_partitions_in_quarantine_are_found_by_name_and_by_rule(quarantined: Project) -> None:
    assert [item.partition for item in _find(quarantined)] == list(DAYS)
    assert [item.partition for item in _find(quarantined, partition=DAYS[1])] == [DAYS[1]]
    between = "expect_column_values_to_be_between"
    assert [item.partition for item in _find(quarantined, rule=between)] == [DAYS[0]]
    assert [item.partition for item in _find(quarantined, rule=f"{between}: distance")] == [DAYS[0]]
    assert _find(quarantined, rule=IN_SET, partition="2024-01-09") == []
    with pytest.raises(Rejected, match="a day is written like"):
        _find(quarantined, partition="yesterday")


def test_where_nothing_was_ever_quarantined_nothing_is_found(project: Project) -> None:
    assert _find(project) == []


@pytest.mark.parametrize(
    "rule",
    [
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_be_null: at",
        "type integer: stops",
        "missing",
    ],
)
def test_a_rule_that_no_row_in_quarantine_breaks_finds_nothing(quarantined: Project, rule: str) -> None:
    assert _find(quarantined, rule=rule) == []


def test_a_rule_that_went_from_the_yaml_still_finds_its_rows(quarantined: Project) -> None:
    rule = f"{IN_SET}: {{column: city, value_set: [BER, MUC]}}"
    quarantined.edit("datasets/trips.yaml", f"  - {rule}\n", "")
    assert [item.partition for item in _find(quarantined, rule=f"{IN_SET}: city")] == list(DAYS)


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ("expect_column_values_to_be_in_sets", f"did you mean '{IN_SET}'"),
        (f"{IN_SET}:city", f"did you mean '{IN_SET}: city'"),
        ("nonsense", "known: expect_column_values_to_be_between, "),
    ],
)
def test_a_rule_that_is_neither_in_the_yaml_nor_in_quarantine_is_rejected_with_the_nearest(
    quarantined: Project, rule: str, hint: str
) -> None:
    with pytest.raises(
        Rejected, match=f"rule '{rule}' is neither in trips.yaml nor in its quarantine; {hint}"
    ):
        _find(quarantined, rule=rule)


def test_a_rule_is_looked_up_also_where_nothing_was_ever_quarantined(project: Project) -> None:
    assert _find(project, rule=IN_SET) == []
    with pytest.raises(Rejected, match="did you mean"):
        _find(project, rule="expect_column_values_in_set")


def test_a_mended_rule_brings_its_rows_back_and_no_row_is_lost_or_doubled(quarantined: Project) -> None:
    before = _published(quarantined)
    quarantined.edit("datasets/trips.yaml", *reversed(BROKEN))
    receipts = [_requeue(quarantined, found) for found in _find(quarantined)]

    for receipt in receipts:
        assert receipt.counts["rows_in"] == fates(receipt) == 60
    published = _published(quarantined)
    assert len(published) == len(set(published)) == sum(item.counts["published"] for item in receipts)
    assert set(before) < set(published)
    still = _in_quarantine(quarantined)
    assert still == [(DAYS[0], "expect_column_values_to_be_between: distance")] * len(still)
    assert len(still) == sum(item.counts["quarantined"] for item in receipts) == 5
    assert [item.partition for item in _find(quarantined)] == [DAYS[0]]


def test_what_is_requeued_is_what_a_new_ingestion_would_publish(quarantined: Project) -> None:
    quarantined.edit("datasets/trips.yaml", *reversed(BROKEN))
    for found in _find(quarantined):
        _requeue(quarantined, found)
    table = published_table("trips", quarantined.store)
    version, rows = table.version(), _published(quarantined)
    for day in DAYS:
        _ingest(quarantined, day)
    assert (table.version(), _published(quarantined)) == (version, rows)


def test_a_second_requeue_changes_nothing(quarantined: Project) -> None:
    quarantined.edit("datasets/trips.yaml", *reversed(BROKEN))
    for found in _find(quarantined):
        _requeue(quarantined, found)
    tables = [open_table("trips", quarantined.store) for open_table in (published_table, quarantine_table)]
    versions = [table.version() for table in tables]
    for found in _find(quarantined):
        assert fates(_requeue(quarantined, found)) == 60
    assert [table.version() for table in tables] == versions


def test_a_rule_that_is_still_broken_leaves_its_rows_where_they_are(quarantined: Project) -> None:
    before = _in_quarantine(quarantined)
    for found in _find(quarantined):
        _requeue(quarantined, found)
    assert _in_quarantine(quarantined) == before


def test_what_was_staged_and_is_gone_must_be_ingested_again(quarantined: Project) -> None:
    (found, _) = _find(quarantined)
    staged = read_call(found.validated, quarantined.store).inputs["staged"]
    (quarantined.root / "store" / object_path(staged["sha256"])).unlink()
    with pytest.raises(Rejected, match=rf"{DAYS[0]}.* is gone.*ingest the partition again"):
        _requeue(quarantined, found)


@pytest.mark.parametrize(
    "change", ["stops: {type: integer, privacy: drop}", "stops: integer\n  more: string"]
)
def test_what_was_staged_for_other_columns_must_be_ingested_again(quarantined: Project, change: str) -> None:
    quarantined.edit("datasets/trips.yaml", "stops: integer", change)
    with pytest.raises(
        Rejected, match=r"other columns or another privacy policy.*ingest the partition again"
    ):
        _requeue(quarantined, _find(quarantined)[0])


def test_newer_rows_that_were_published_meanwhile_stay(quarantined: Project) -> None:
    quarantined.edit("datasets/trips.yaml", *reversed(BROKEN))
    (found, _) = _find(quarantined)
    tiny.deliver(quarantined, tiny.trips(3, count=70), "trips", DAYS[0])
    _ingest(quarantined, DAYS[0])
    before = _published(quarantined)
    with pytest.raises(Rejected, match="was published by another run since"):
        _requeue(quarantined, found)
    assert _published(quarantined) == before


@pytest.mark.parametrize("policy", ["untreated: stop", "key: people\n  subject: trip_id"])
def test_what_was_staged_under_another_policy_must_be_ingested_again(
    quarantined: Project, policy: str
) -> None:
    quarantined.edit("datasets/trips.yaml", "key: [trip_id]", f"privacy:\n  {policy}\nkey: [trip_id]")
    with pytest.raises(Rejected, match=r"another privacy policy.*ingest the partition again"):
        _requeue(quarantined, _find(quarantined)[0])
