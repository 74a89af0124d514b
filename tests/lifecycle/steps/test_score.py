"""Tables of scores: the same as single rows get, one commit a span, and bounded memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from include.lifecycle.data.point_in_time import KEY
from include.lifecycle.data.publishing import scores_table
from include.lifecycle.data.spans import Span
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.model.predictor import Predictor
from include.lifecycle.steps import evaluate, score, train
from include.lifecycle.steps.code import ROOT
from include.lifecycle.steps.running import Work, run_step
from include.lifecycle.store.receipts import Call, Receipt, find_receipt, write_call
from include.serving.rows import check_rows, layout_of
from tests.lifecycle import tiny
from tests.lifecycle.steps.test_evaluate import served_inputs
from tests.lifecycle.tiny import MODEL, Project, midnight

DYING = """
import os, signal, sys
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import open_store
from include.lifecycle.store.receipts import read_call

publish = Table.publish_together
def die(*given, **more):
    publish(*given, **more)
    os.kill(os.getpid(), signal.SIGKILL)
Table.publish_together = die
run_step(read_call(sys.argv[1], open_store()), open_store())
"""


@pytest.fixture
def champion(world: Project, trained: Receipt) -> Receipt:
    """Version 1, trained as of the 22nd."""
    tiny.crown(world, trained, "1")
    return trained


def days(first: int, last: int) -> Span:
    """The span of the n-th to the m-th day."""
    return Span(midnight(first), midnight(last + 1))


def ask(world: Project, span: Span | None, version: str | None = None) -> Call:
    call = score.plan(MODEL, version, span, world.store)
    assert call is not None
    return call


def scored(world: Project, span: Span | None, version: str | None = None) -> Receipt:
    return run_step(ask(world, span, version), world.store)[0]


def table(world: Project) -> pd.DataFrame:
    """The newest scores, by their key."""
    found = scores_table(MODEL, world.store).dataset()
    assert found is not None
    return found.to_table().to_pandas().set_index("key").sort_index()


def predictor(world: Project, trained: Receipt) -> Predictor:
    folder = world.root / "predictor"
    folder.mkdir(exist_ok=True)
    work = Work(trained.call, world.store, folder)
    return evaluate.load_package(trained, work)


def answer(asked: Predictor, row: Mapping[str, Any]) -> float:
    """What the server answers to a request of this one row, as JSON has it."""
    told = {
        name: None
        if row[name] is None or row[name] != row[name]
        else row[name].isoformat()
        if name == "at"
        else bool(row[name])
        if name == "express"
        else int(row[name])
        if name == "stops"
        else row[name]
        for name in layout_of(asked).wanted
    }
    rows = check_rows({name: [value] for name, value in told.items()}, layout_of(asked))
    (found,) = asked.predict(rows.typed)
    return float(found)


def test_each_row_of_a_table_gets_the_score_that_it_gets_alone_labelled_or_not(
    world: Project, champion: Receipt
) -> None:
    new = tiny.trips(24).assign(delay=np.nan)
    new.loc[:5, "distance"] = np.nan
    new.loc[3:8, "city"] = None
    new.loc[6:9, "stops"] = np.nan
    tiny.put(world, "trips", "2024-01-24", new.astype({"stops": "Int64"}))
    receipt = scored(world, days(23, 24))
    found, asked = table(world), predictor(world, champion)
    rows = {row["trip_id"]: row for row in served_inputs(23)}
    sky = {row["trip_id"]: row["rain"] for row in served_inputs(24)}
    for row in new.to_dict("records"):
        rows[row["trip_id"]] = {**row, "rain": sky[row["trip_id"]] if row["city"] else None}
    assert receipt.counts == {"rows_in": 120, "rows_scored": 120, "replaced": 2}
    assert found.index.tolist() == sorted(rows)
    for key, row in rows.items():
        assert found.loc[key, "score"] == answer(asked, row), row
        assert found.loc[key, "event_time"] == row["at"]
    assert found["score"].nunique() > 60


def test_each_row_gets_the_score_that_an_evaluation_gives_it(world: Project, champion: Receipt) -> None:
    scored(world, days(18, 24))
    gate = pd.read_parquet(world.store.fetch(champion.outputs["gate"], world.root / "gate.parquet"))
    again = evaluate._rescored(Work(champion.call, world.store, world.root), champion, champion, gate)
    found = table(world).loc[gate[KEY]]
    assert len(found) > 100
    np.testing.assert_array_equal(found["score"], again)


def test_the_table_says_which_version_scored_and_what_that_knew(world: Project, champion: Receipt) -> None:
    receipt = scored(world, None)
    found = table(world)
    assert set(found["version"]) == {"1"}
    assert set(found["version_as_of"]) == {pd.Timestamp(midnight(22))}
    assert set(found["run_key"]) == {receipt.run_key}
    assert set(found["_partition"]) == {"2024-01-24"}, "an empty span is the newest partition"
    assert receipt.call.as_of == midnight(25)
    assert receipt.results == {
        "version": "1",
        "table_version": 1,
        "first": "2024-01-24",
        "last": "2024-01-24",
    }


@pytest.mark.usefixtures("champion")
def test_how_rows_are_cut_makes_no_other_scores(world: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(world, days(17, 24))
    whole = table(world)
    (world.root / "store/tables/scores__late").rename(world.root / "put-aside")
    monkeypatch.setattr(score, "GROUP", 150)
    monkeypatch.setattr(score, "BATCH", 7)
    call = ask(world, days(17, 24))
    work = Work(call, world.store, world.root)
    score.run(work)
    assert work.counts == {"rows_in": 480, "rows_scored": 480, "replaced": 8}
    pd.testing.assert_frame_equal(table(world), whole)


@pytest.mark.usefixtures("champion")
def test_the_same_again_makes_no_new_version_of_the_table_and_a_wider_span_only_what_is_new(
    world: Project,
) -> None:
    first = scored(world, days(20, 22))
    again, adopted = run_step(first.call, world.store)
    assert (again, adopted) == (first, True)
    once_more = scored(world, days(20, 22))
    assert once_more.counts == {"rows_in": 180, "rows_scored": 180, "replaced": 0}
    wider = scored(world, days(21, 24))
    assert wider.counts == {"rows_in": 240, "rows_scored": 240, "replaced": 2}
    versions = [item.results["table_version"] for item in (first, once_more, wider)]
    assert versions == [1, 1, 2], "one commit each, after the table's creation"
    written_by = table(world).groupby("_partition")["run_key"].unique().map(list)
    assert written_by.tolist() == [[first.run_key]] * 3 + [[wider.run_key]] * 2


@pytest.mark.usefixtures("champion")
def test_another_version_replaces_the_span_alone_and_the_first_one_can_come_back(world: Project) -> None:
    scored(world, days(20, 24))
    before = table(world)
    tiny.propose_version(world, tiny.train_as_of(world, midnight(24)), "2")
    other = scored(world, days(23, 24), "2")
    mixed = table(world)
    assert mixed.groupby("_partition")["version"].unique().map(list).tolist() == [["1"]] * 3 + [["2"]] * 2
    assert len(mixed) == len(before)
    assert (mixed["score"] != before["score"]).sum() > 60
    back = scored(world, days(20, 24))
    assert back.counts["replaced"] == 2
    assert back.results["table_version"] == other.results["table_version"] + 1
    pd.testing.assert_series_equal(table(world)["score"], before["score"])


@pytest.mark.usefixtures("champion")
def test_rows_that_were_published_anew_are_scored_anew(world: Project) -> None:
    scored(world, days(22, 24))
    tiny.put(world, "trips", "2024-01-23", tiny.trips(23, count=40))
    assert scored(world, days(22, 24)).counts == {"rows_in": 160, "rows_scored": 160, "replaced": 1}
    assert (table(world)["_partition"] == "2024-01-23").sum() == 40


@pytest.mark.usefixtures("champion")
def test_a_partition_without_a_row_has_scores_without_a_row(world: Project) -> None:
    tiny.put(world, "trips", "2024-01-23", tiny.trips(23, count=0))
    assert scored(world, days(22, 23)).counts == {"rows_in": 60, "rows_scored": 60, "replaced": 2}
    assert scored(world, days(22, 23)).counts["replaced"] == 0


@pytest.mark.usefixtures("champion")
def test_killed_after_its_commit_the_same_call_finds_it_done_and_gives_the_receipt(world: Project) -> None:
    call = ask(world, days(23, 24))
    write_call(call, world.store)
    command = [sys.executable, "-c", DYING, call.run_key]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    assert find_receipt(call.run_key, world.store) is None
    assert scores_table(MODEL, world.store).version() == 1
    receipt, adopted = run_step(call, world.store)
    assert not adopted
    assert (receipt.results["table_version"], receipt.counts["rows_scored"]) == (1, 120)
    assert set(table(world)["run_key"]) == {call.run_key}
    assert len(table(world)) == 120


def test_what_cannot_be_scored_is_said_with_what_can(world: Project, trained: Receipt) -> None:
    with pytest.raises(Rejected, match="late has no champion: say which version to score"):
        ask(world, None)
    tiny.crown(world, trained, "1")
    with pytest.raises(Rejected, match="late has no version 7; it has: 1"):
        ask(world, None, "7")
    with pytest.raises(
        Rejected,
        match=r"no published partition of trips ends after 2024-02-01 00:00 and by 2024-03-01 00:00 UTC; "
        "there are 2024-01-01 to 2024-01-24: ask for some of those, or run trips.ingest first",
    ):
        ask(world, Span(midnight(32), midnight(61)))


@pytest.mark.usefixtures("champion")
def test_an_awaited_span_waits_for_what_is_to_come_and_is_nothing_where_there_is_a_gap(
    world: Project,
) -> None:
    def awaited(first: int, last: int) -> Call | None:
        return score.plan(MODEL, None, days(first, last), world.store, awaited=True)

    with pytest.raises(
        Transient, match=r"trips is published until 2024-01-24 only.*waiting for trips.ingest"
    ):
        awaited(25, 25)
    tiny.put(world, "trips", "2024-01-27", tiny.trips(27))
    assert awaited(25, 26) is None
    found = awaited(24, 27)
    assert found is not None
    assert list(found.inputs["partitions"]) == ["2024-01-24", "2024-01-27"]


@pytest.mark.usefixtures("champion")
def test_rows_that_are_gone_meanwhile_and_a_partition_that_was_scored_meanwhile_are_tried_again(
    world: Project,
) -> None:
    late = ask(world, days(23, 24))
    tiny.put(world, "sky", "2024-01-24", tiny.sky(25))
    scored(world, days(24, 24))
    with pytest.raises(Transient, match="another run published 2024-01-24 first"):
        run_step(late, world.store)
    call = ask(world, days(21, 22))
    for path in world.store.list("tables/trips/_partition=2024-01-22"):
        world.store.remove(path)
    with pytest.raises(Transient, match=r"files of trips at version .* are gone.*made again"):
        run_step(call, world.store)
    assert "2024-01-22" not in scores_table(MODEL, world.store).partitions()


@pytest.mark.usefixtures("champion")
def test_features_that_cannot_take_a_row_are_named_and_not_tried_again(
    world: Project, trained: Receipt
) -> None:
    asked = predictor(world, trained)
    batch = served_inputs(23)
    rows = pa.RecordBatch.from_pylist([{name: row[name] for name in asked.inputs} for row in batch])
    asked.features = lambda rows: {"city": rows["town"]}
    with pytest.raises(Rejected, match="version 3 cannot score these rows: KeyError: 'town'"):
        score._scores(rows, asked, "3")


def test_the_schedule_of_scoring_is_no_part_of_what_is_learned(world: Project) -> None:
    def run_key() -> str:
        return train.plan(world.catalog.model(MODEL), world.catalog, midnight(22), world.store).run_key

    before = run_key()
    world.add("models/late.yaml", 'scoring: {schedule: "0 5 * * *"}\ncompute: {score: {cpu: 4}}\n')
    assert world.catalog.model(MODEL).scoring.schedule == "0 5 * * *"
    assert run_key() == before
