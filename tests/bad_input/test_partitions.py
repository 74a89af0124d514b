"""Partitions without rows, or with bad ones: the published one stays, the bad rows are kept as written."""

from __future__ import annotations

import json

import pytest

from include.lifecycle.errors import Rejected
from tests.bad_input import source, tasks
from tests.bad_input.project import Project, refused


def test_an_empty_partition_says_so_and_keeps_the_published_one(project: Project, control: Project) -> None:
    published = source.day(3)
    file = project.deliver(published, source.text_of(source.trips(published, rows=0)))
    with (
        project.unharmed(),
        refused(Rejected, f"{file}: no rows", "leave the partition out", "deliver the file again"),
    ):
        tasks.extract(published)
    project.deliver(published)
    project.ingest_as(control, published)


@pytest.mark.parametrize("number", [10, 4], ids=["new", "published before"])
def test_a_partition_whose_rows_are_all_bad_goes_to_quarantine(
    project: Project, control: Project, number: int
) -> None:
    partition = source.day(number)
    rows = source.trips(partition)
    rows["distance"] = -rows["distance"]
    project.deliver(partition, source.text_of(rows))
    with (
        project.unharmed(),
        refused(
            Rejected,
            f"trips {partition} is not published: 60 of 60 rows (100.0%) break a rule",
            "trips__quarantine",
            "mend the source or the rule, then clear the DAG run",
        ),
    ):
        tasks.ingest(partition)
    bad = project.quarantined(partition)
    assert set(bad["rule"]) == {"expect_column_values_to_be_between: distance"}
    written = {row["trip"]: row["distance"] for row in map(json.loads, bad["row"])}
    assert written == dict(zip(rows["trip"], rows["distance"].astype(str), strict=True))
    project.deliver(partition)
    project.ingest_as(control, partition)
    assert project.quarantined(partition).empty


@pytest.mark.parametrize(
    ("column", "text", "rule"),
    [
        ("seats", "many", "type integer: seats"),
        ("seats", "1.5", "type integer: seats"),
        ("distance", "1,5", "type number: distance"),
        ("delay", "inf", "type number: delay"),
        ("at", "2024-13-01", "type timestamp: at"),
        ("at", "", "missing: at"),
        ("trip", "", "missing: trip"),
        ("zone", "", "expect_column_values_to_not_be_null: zone"),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_kept_as_it_was_written(
    project: Project, column: str, text: str, rule: str
) -> None:
    partition = source.day(11)
    rows = source.trips(partition).astype(object)
    rows.loc[:2, column] = text
    project.deliver(partition, source.text_of(rows))
    assert tasks.ingest(partition)["counts"] == {
        "rows_in": 60,
        "published": 57,
        "quarantined": 3,
        "repeated": 0,
    }
    bad = project.quarantined(partition)
    assert set(bad["rule"]) == {rule}
    assert [json.loads(row)[column] for row in bad["row"]] == [text or None] * 3
