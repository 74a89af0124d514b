from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.lifecycle.data.publishing import (
    content_label,
    policy_of,
    published_policies,
    published_table,
    quarantine_table,
)
from include.lifecycle.errors import Rejected
from include.lifecycle.steps import publish, train
from include.lifecycle.steps.running import Work, run_step
from include.lifecycle.store.receipts import Call, Receipt, write_receipt
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project

DAY = "2024-01-01"
THEN = datetime(2024, 5, 6, 7, tzinfo=UTC)


def _validated(
    project: Project,
    rows: pd.DataFrame,
    bad: int = 0,
    stop: str | None = None,
    extra: dict[str, str] | None = None,
) -> Receipt:
    """The receipt of an audit that let rows through and held `bad` rows back."""
    spec = project.catalog.dataset("trips")
    good_file, bad_file = project.root / "good.parquet", project.root / "bad.parquet"
    tiny.write_rows(spec, rows, good_file)
    if extra:
        table = pq.read_table(good_file)
        for name, text in extra.items():
            table = table.append_column(name, pa.array([text] * len(table)))
        pq.write_table(table, good_file)
    tiny.write_held_back(bad, bad_file)
    good, kept = project.store.keep_file(good_file), project.store.keep_file(bad_file)
    call = Call(
        step="validate",
        spec=spec.model_dump(mode="json"),
        inputs={"staged": good.sha256, "partition": DAY, "bad": kept.sha256, "stop": stop},
        as_of=tiny.midnight(1),
        code="c" * 64,
    )
    receipt = Receipt(
        call=call,
        outputs={"good": good, "bad": kept},
        counts={"rows_in": len(rows) + bad + 3, "good": len(rows), "quarantined": bad, "repeated": 1}
        | {"suppressed": 2},
        results={"stop": stop, "content": good.sha256},
        started=THEN,
        ended=THEN,
    )
    return write_receipt(receipt, project.store)


def _plan(project: Project, validated: Receipt) -> Call:
    return publish.plan(validated, published_table("trips", project.store).publication(DAY), project.store)


def _publish(project: Project, validated: Receipt) -> Receipt:
    return run_step(_plan(project, validated), project.store)[0]


def _rows(project: Project, version: int | None = None) -> pd.DataFrame:
    dataset = published_table("trips", project.store).dataset(version)
    assert dataset is not None
    rows: pd.DataFrame = dataset.to_table().to_pandas()
    return rows.sort_values(["_partition", "trip_id"]).reset_index(drop=True)


def _quarantined(project: Project) -> list[dict[str, object]]:
    dataset = quarantine_table("trips", project.store).dataset()
    assert dataset is not None
    rows: list[dict[str, object]] = dataset.to_table().to_pylist()
    return rows


def test_all_rows_are_accounted_for(project: Project) -> None:
    published = _publish(project, _validated(project, tiny.trips(1, count=10), bad=4))
    assert published.counts == {
        "rows_in": 17,
        "published": 10,
        "quarantined": 4,
        "repeated": 1,
        "suppressed": 2,
    }
    assert len(_rows(project)) == 10
    assert len(_quarantined(project)) == 4


def test_a_crash_between_commit_and_receipt_makes_no_second_commit(project: Project) -> None:
    """Killed when the commit was done and the receipt was not: as publish does without `run_step`."""
    validated = _validated(project, tiny.trips(1, count=10), bad=1)
    for attempt in range(2):
        folder = project.root / f"killed-{attempt}"
        folder.mkdir()
        publish.run(Work(_plan(project, validated), project.store, folder))
    table, quarantine = published_table("trips", project.store), quarantine_table("trips", project.store)
    before = table.version(), quarantine.version()
    published = _publish(project, validated)
    assert published.results == {"version": before[0], "partition": DAY, "changed": False}
    assert (table.version(), quarantine.version()) == before
    assert (table.publication(DAY), quarantine.publication(DAY)) == ("1", "1")


def test_contents_that_take_turns_are_published_each_time(project: Project) -> None:
    rows = tiny.trips(1, count=5)
    one, other = (_validated(project, rows.assign(distance=distance)) for distance in (1.0, 2.0))
    for turn in (one, other, one, other, one):
        assert _publish(project, turn).results["changed"]
        expected = {1.0} if turn is one else {2.0}
        assert set(_rows(project)["distance"]) == expected


def test_quarantine_says_since_when_and_keeps_that_time(project: Project) -> None:
    validated = _validated(project, tiny.trips(1, count=5), bad=2)
    _publish(project, validated)
    version = quarantine_table("trips", project.store).version()
    _publish(project, validated)
    assert quarantine_table("trips", project.store).version() == version
    assert [(row["at"], row["rule"], row["run_key"]) for row in _quarantined(project)] == [
        (THEN, "rule", "audit"),
        (THEN, "rule", "audit"),
    ]
    rows = {json.loads(str(row["row"]))["trip_id"] for row in _quarantined(project)}
    assert rows == {"bad-0", "bad-1"}
    assert {row["_partition"] for row in _quarantined(project)} == {DAY}


def test_a_stopped_partition_says_where_its_rows_are(project: Project) -> None:
    _publish(project, _validated(project, tiny.trips(1, count=5)))
    before = _rows(project)
    with pytest.raises(Rejected, match=r"not published: too bad\. The rows are in quarantine/trips; mend"):
        _publish(project, _validated(project, tiny.trips(1, count=2), bad=7, stop="too bad"))
    pd.testing.assert_frame_equal(_rows(project), before)
    assert len(_quarantined(project)) == 7


def test_a_column_that_the_yaml_gained_or_lost_is_nothing_where_it_is_missing(project: Project) -> None:
    tiny.put(project, "trips", "2024-01-02", tiny.trips(2, count=3))
    pinned = published_table("trips", project.store).version()
    before = _rows(project, pinned)
    project.edit("datasets/trips.yaml", "  express: boolean\n", "  crew: string\n")
    _publish(project, _validated(project, tiny.trips(1, count=3).assign(crew="Ada")))
    rows = _rows(project)
    assert rows["crew"].tolist() == ["Ada"] * 3 + [None] * 3
    assert rows["express"].isna().tolist() == [True] * 3 + [False] * 3
    pd.testing.assert_frame_equal(_rows(project, pinned), before)


def test_a_column_that_only_the_source_has_arrives_as_text(project: Project) -> None:
    tiny.put(project, "trips", "2024-01-02", tiny.trips(2, count=3))
    _publish(project, _validated(project, tiny.trips(1, count=2), extra={"wheels": "4"}))
    assert _rows(project)["wheels"].tolist() == ["4", "4", None, None, None]


@pytest.mark.parametrize("policy", ["stop", "rewrite"])
def test_a_wider_type_goes_by_policy(project: Project, policy: str) -> None:
    tiny.put(project, "trips", "2024-01-02", tiny.trips(2, count=3).assign(stops=2))
    pinned = published_table("trips", project.store).version()
    project.edit("datasets/trips.yaml", "  stops: integer", "  stops: number")
    project.edit("datasets/trips.yaml", "key:", f"schema_changes: {{widened: {policy}}}\nkey:")
    validated = _validated(project, tiny.trips(1, count=2).assign(stops=0.5))
    if policy == "stop":
        with pytest.raises(Rejected, match="column stops is integer in the table and number now: restore"):
            _publish(project, validated)
        assert published_table("trips", project.store).version() == pinned
        return
    _publish(project, validated)
    assert _rows(project)["stops"].tolist() == [0.5, 0.5, 2.0, 2.0, 2.0]
    assert _rows(project, pinned)["stops"].dtype == "int64"


def test_a_narrower_type_is_rejected_under_every_policy(project: Project) -> None:
    tiny.put(project, "trips", "2024-01-02", tiny.trips(2, count=3))
    project.edit("datasets/trips.yaml", "  distance: number", "  distance: integer")
    project.edit("datasets/trips.yaml", "key:", "schema_changes: {widened: rewrite}\nkey:")
    with pytest.raises(Rejected, match=r"column distance is number in the table and integer now.*new name"):
        _publish(project, _validated(project, tiny.trips(1, count=2).assign(distance=5)))


def test_a_model_pinned_before_the_columns_changed_trains_to_the_same_bytes(
    world: Project, trained: Receipt
) -> None:
    world.edit("datasets/trips.yaml", "  stops: integer\n", "  stops: string\n  crew: string\n")
    world.edit("datasets/trips.yaml", "key:", "schema_changes: {widened: rewrite}\nkey:")
    rows = tiny.trips(1).assign(crew="Ada", stops="many")
    _publish(world, _validated(world, rows, extra={"wheels": "4"}))
    assert {"crew", "wheels"} <= set(_rows(world).columns)
    assert _rows(world)["stops"].dtype == object
    (world.root / "again").mkdir()
    again = Work(trained.call, world.store, world.root / "again")
    train.run(again)
    assert again.outputs == trained.outputs


TREATED = """  city: {type: string, privacy: keep}
"""


def test_the_label_of_a_content_names_the_policy_on_privacy(project: Project) -> None:
    validated = _validated(project, tiny.trips(1, count=5))
    _publish(project, validated)
    assert published_policies("trips", project.store) == {DAY: None}

    project.edit("datasets/trips.yaml", "  city: string\n", TREATED)
    spec = project.catalog.dataset("trips")
    kept = _validated(project, tiny.trips(1, count=5))
    assert kept.outputs["good"] == validated.outputs["good"]
    published = _publish(project, kept)
    assert published.results["changed"]
    (policy,) = published_policies("trips", project.store).values()
    label = content_label(spec, kept.results["content"])
    assert policy is not None
    assert label == f"{kept.results['content']}-{policy}"
    assert policy_of(label) == policy
    assert len(policy) == 12
    assert _publish(project, kept).results["changed"] is False


def test_another_treatment_is_another_policy_and_another_k_is_not(project: Project) -> None:
    seen = []
    for old, new in (
        ("  city: string\n", TREATED),
        ("privacy: keep", "privacy: {generalise: {prefix: 1}}"),
        ("key:", "privacy: {k: 5}\nkey:"),
        ("k: 5", "k: 6"),
    ):
        project.edit("datasets/trips.yaml", old, new)
        seen.append(content_label(project.catalog.dataset("trips"), "a"))
    assert len(set(seen[:3])) == 3
    assert seen[2] == seen[3]


def test_the_logs_of_published_and_quarantined_rows_hold_no_values(project: Project) -> None:
    _publish(project, _validated(project, tiny.trips(1, count=5).assign(city="Xanadu"), bad=2))
    logs = b"".join(
        file.read_bytes() for file in Path(project.store.uri).rglob("_delta_log/*") if file.is_file()
    )
    assert b"numRecords" in logs
    assert not any(word in logs for word in (b"Xanadu", b"bad-0", b"minValues"))


def test_rows_that_were_read_before_another_publication_do_not_replace_it(project: Project) -> None:
    older, newer = (_validated(project, tiny.trips(1, count=count), bad=count) for count in (5, 7))
    over = published_table("trips", project.store).publication(DAY)
    _publish(project, newer)
    with pytest.raises(Rejected, match="was published by another run since these rows were read"):
        run_step(publish.plan(older, over, project.store), project.store)
    assert len(_rows(project)) == 7
    assert quarantine_table("trips", project.store).dataset().count_rows() == 7


def test_a_delivery_that_comes_back_brings_its_own_rows_into_quarantine_again(project: Project) -> None:
    first = _validated(project, tiny.trips(1, count=5), bad=1)
    for _ in range(2):
        _publish(project, first)
    with pytest.raises(Rejected, match="too many"):
        _publish(project, _validated(project, tiny.trips(1, count=2), bad=3, stop="too many"))
    assert quarantine_table("trips", project.store).dataset().count_rows() == 3
    _publish(project, first)
    assert quarantine_table("trips", project.store).dataset().count_rows() == 1
