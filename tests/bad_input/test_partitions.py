"""Partitions without rows, or with bad ones: the published one stays, the bad rows are kept as written."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from include.lifecycle.errors import Rejected
from tests.bad_input import source, tasks
from tests.bad_input.project import Project, refused


def test_an_empty_partition_says_so_and_keeps_the_published_one(project: Project, control: Project) -> None:
    published = source.day(3)
    file = project.deliver(published, source.text_of(source.trips(published, rows=0)))
    with (
        project.unharmed(),
        refused(Rejected, f"{file}: no rows", "write empty: publish in trips.yaml", "mend the source"),
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
            "quarantine/trips",
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
        "suppressed": 0,
    }
    bad = project.quarantined(partition)
    assert set(bad["rule"]) == {rule}
    assert [json.loads(row)[column] for row in bad["row"]] == [text or None] * 3


def test_of_rows_with_the_same_key_the_newest_is_published_and_the_others_counted(project: Project) -> None:
    partition = source.day(12)
    rows = source.trips(partition)
    older = rows.head(3).assign(at=f"{source.day(11)}T23:00:00Z", zone="harbour")
    project.deliver(partition, source.text_of(pd.concat([older, rows, rows.tail(2)])))
    assert tasks.ingest(partition)["counts"] == {
        "rows_in": 65,
        "published": 60,
        "quarantined": 0,
        "repeated": 5,
        "suppressed": 0,
    }
    published = project.rows()
    ours = published[published["trip"].str.startswith(partition)].sort_values("trip")
    assert ours["zone"].tolist() == rows.sort_values("trip")["zone"].tolist()


def test_a_column_of_mixed_types_loses_only_what_is_of_the_wrong_one(project: Project) -> None:
    partition = source.day(13)
    rows = source.trips(partition).astype(object)
    rows.loc[0, "seats"], rows.loc[1, "distance"], rows.loc[2, "at"] = "2024-03-01", "true", "31.03.2024"
    project.deliver(partition, source.text_of(rows))
    assert tasks.ingest(partition)["counts"]["quarantined"] == 3
    bad = project.quarantined(partition)
    assert set(bad["rule"]) == {"type integer: seats", "type number: distance", "type timestamp: at"}
