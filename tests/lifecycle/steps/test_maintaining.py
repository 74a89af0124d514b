"""What models were trained on stays, in files and in the log; what nobody needs goes."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.lifecycle.data.publishing import published_table, quarantine, quarantine_table, scores_table
from include.lifecycle.errors import Rejected
from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.steps import validate
from include.lifecycle.steps.maintaining import maintain_tables
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.lake import PARTITION, Replacement, Table
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt, all_receipts, receipt_path
from tests.lifecycle import tiny
from tests.lifecycle.ageing import age
from tests.lifecycle.ingesting import ingest
from tests.lifecycle.tiny import Project

NOW = datetime(2024, 6, 1, tzinfo=UTC)
COMMITS = 130
"""Several checkpoints' worth, by Delta's own interval too."""


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose store is a folder, then one on S3."""
    store = None
    if request.param == "s3":
        if "AWS_ENDPOINT_URL" not in os.environ:
            pytest.skip("AWS_ENDPOINT_URL names no S3")
        store = Store(f"s3://lake/test-{uuid.uuid4().hex}")
    return tiny.make_project(tmp_path / "project", monkeypatch, store)


def _commit(project: Project, dataset: str, times: int) -> list[int]:
    """Replace a day that no model reads, again and again; returns the versions."""
    rows = tiny.trips(40, count=3) if dataset == "trips" else tiny.sky(40).head(3)
    column = "distance" if dataset == "trips" else "rain"
    day = f"{tiny.midnight(40):%Y-%m-%d}"
    return [
        tiny.put(project, dataset, day, rows.assign(**{column: float(number)})) for number in range(times)
    ]


def _age(project: Project) -> None:
    for name in ("trips", "sky"):
        age(published_table(name, project.store), project.store, timedelta(days=40))


def _readable(table: Table, version: int) -> bool:
    dataset = table.dataset(version)
    assert dataset is not None
    try:
        dataset.to_table()
    except FileNotFoundError:
        return False
    return True


def test_after_260_commits_80_days_compaction_and_vacuum_a_registered_model_trains_to_the_same_bytes(
    anywhere: Project,
) -> None:
    project = anywhere
    trips, sky = (published_table(name, project.store) for name in ("trips", "sky"))
    tiny.put_days(project, 1, 24)
    early = _commit(project, "trips", COMMITS)
    trained = tiny.train_as_of(project, tiny.midnight(22))
    versions = trained.call.inputs["versions"]
    assert versions["trips"] == early[-1]
    _age(project)
    tiny.put_days(project, 23, 24)
    tiny.put(project, "trips", f"{tiny.midnight(5):%Y-%m-%d}", tiny.trips(5, count=20))
    tiny.put(project, "sky", f"{tiny.midnight(5):%Y-%m-%d}", tiny.sky(6))
    _commit(project, "trips", COMMITS)
    _age(project)
    logs = {table: project.store.list(f"{table.path}/_delta_log") for table in (trips, sky)}
    now = {table: table.partitions() for table in (trips, sky)}

    pins = {name: {version} for name, version in versions.items()}
    # Nobody can set the time of an object on S3 back: there everything old enough is what is old at all.
    on_s3 = "://" in project.store.uri
    retention = timedelta(0) if on_s3 else timedelta(days=7)
    reports = maintain_tables(project.catalog, project.store, pins, NOW, retention)

    assert [report.table for report in reports] == ["sky", "trips"]
    assert reports[1].deleted_files > 2 * COMMITS - 5
    assert reports[1].freed_bytes > 100_000
    assert reports[1].kept_versions == (versions["trips"],)
    for table in (trips, sky):
        assert set(logs[table]) <= set(project.store.list(f"{table.path}/_delta_log"))
        assert table.partitions() == now[table]
    assert not _readable(trips, early[-2])
    project.store.remove(receipt_path(trained.run_key))
    again, adopted = run_step(trained.call, project.store)
    assert not adopted
    assert again.outputs == trained.outputs

    maintain_tables(project.catalog, project.store, {}, NOW, retention)
    assert not _readable(trips, versions["trips"])
    assert not _readable(sky, versions["sky"])
    assert {table: table.partitions() for table in (trips, sky)} == now


def test_upkeep_that_finds_nothing_to_do_makes_no_version(anywhere: Project) -> None:
    tiny.put_days(anywhere, 1, 2)
    tiny.put(anywhere, "trips", f"{tiny.midnight(1):%Y-%m-%d}", tiny.trips(7))
    table = published_table("trips", anywhere.store)
    before = table.version()
    reports = maintain_tables(anywhere.catalog, anywhere.store, {}, NOW)
    assert [(item.table, item.deleted_files, item.freed_bytes) for item in reports] == [
        ("sky", 0, 0),
        ("trips", 0, 0),
    ]
    assert table.version() == before
    assert _readable(table, 1)


def _hold_back(project: Project, partition: str, at: datetime, bad: int = 2) -> None:
    file = project.root / "bad.parquet"
    tiny.write_held_back(bad, file)
    table = quarantine_table("trips", project.store)
    quarantine(table, partition, project.store.keep_file(file), file, at, "run")


def test_rows_leave_quarantine_after_their_time_files_and_all(anywhere: Project) -> None:
    table = quarantine_table("trips", anywhere.store)
    _hold_back(anywhere, "2024-01-01", NOW - timedelta(days=91))
    _hold_back(anywhere, "2024-01-02", NOW - timedelta(days=89))
    _hold_back(anywhere, "2024-01-03", NOW, bad=1)
    _hold_back(anywhere, "2024-01-03", NOW, bad=3)
    first = table.version()
    assert first is not None
    waiting = Replacement("about to be committed", anywhere.root / "bad.parquet")
    table._copy_in(waiting, "2024-01-04")

    (report,) = maintain_tables(anywhere.catalog, anywhere.store, {}, NOW)
    assert (report.table, report.expired_rows, report.deleted_files) == ("quarantine/trips", 2, 2)
    assert (report.files_before, report.files_after) == (3, 2)
    dataset = table.dataset()
    assert dataset is not None
    assert sorted(dataset.to_table().column(PARTITION).to_pylist()) == ["2024-01-02"] * 2 + ["2024-01-03"] * 3
    assert not _readable(table, first)
    assert len(table.files()) == 3
    assert maintain_tables(anywhere.catalog, anywhere.store, {}, NOW)[0].expired_rows == 0


def test_scores_that_were_replaced_go_in_their_time(anywhere: Project) -> None:
    table, file = scores_table(tiny.MODEL, anywhere.store), anywhere.root / "scores.parquet"
    for day, score in (("2024-01-01", 0.1), ("2024-01-01", 0.2), ("2024-01-02", 0.3)):
        pq.write_table(pa.table({"key": ["a"], "score": [score]}), file)
        table.publish(day, str(score), file, "run")
    (report,) = maintain_tables(anywhere.catalog, anywhere.store, {}, NOW, timedelta(0))
    assert (report.table, report.files_after, report.deleted_files) == ("scores__late", 2, 1)


def test_a_prediction_log_of_many_small_files_becomes_one_a_day(anywhere: Project) -> None:
    log = prediction_log(tiny.MODEL, anywhere.store)
    for number in range(20):
        rows = pa.table({"request_id": [str(number)], PARTITION: [f"2024-01-0{1 + number % 2}"]})
        log.append_once(rows, "server", number + 1)
    (report,) = maintain_tables(anywhere.catalog, anywhere.store, {}, NOW)
    assert (report.table, report.files_before, report.files_after) == ("predictions__late", 20, 2)
    dataset = log.dataset()
    assert dataset is not None
    assert sorted(map(int, dataset.to_table().column("request_id").to_pylist())) == list(range(20))
    assert log.appended_by("server") == 20


def test_a_broken_yaml_keeps_no_other_table_from_its_upkeep(project: Project) -> None:
    for dataset in ("sky", "trips"):
        tiny.put(project, dataset, "2024-01-01", tiny.trips(1) if dataset == "trips" else tiny.sky(1))
    _hold_back(project, "2024-01-01", NOW)
    tiny.put(project, "trips", "2024-01-01", tiny.trips(2))
    project.edit("datasets/trips.yaml", "partition: day", "partition: fortnight")
    age(published_table("trips", project.store), project.store, timedelta(days=40))
    with pytest.raises(Rejected, match="fortnight"):
        maintain_tables(project.catalog, project.store, {}, NOW)
    assert not _readable(published_table("trips", project.store), 1)


def test_a_pin_from_another_store_hinders_nothing(project: Project) -> None:
    tiny.put(project, "trips", "2024-01-01", tiny.trips(1))
    (report,) = maintain_tables(project.catalog, project.store, {"trips": {999}, "gone": {1}}, NOW)
    assert report.files_after == 1


def _ingest(project: Project, day: int, bad: int) -> dict[str, Receipt]:
    """The receipts of a day's steps, with so many rows of a city that no rule allows."""
    name, rows = f"{tiny.midnight(day):%Y-%m-%d}", tiny.trips(day, count=20)
    rows.loc[: bad - 1, "city"] = "XXX"
    tiny.deliver(project, rows, "trips", name)
    before = {item.run_key for item in all_receipts(project.store)}
    ingest(project.catalog.dataset("trips"), name, project.store)
    return {item.call.step: item for item in all_receipts(project.store) if item.run_key not in before}


def _in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def _kept(project: Project) -> tuple[set[str], set[str]]:
    """Names of all objects, and run keys of all receipts."""
    objects, receipts = project.store.list("objects"), all_receipts(project.store)
    return {path.rpartition("/")[2] for path in objects}, {item.run_key for item in receipts}


def test_what_steps_kept_of_quarantined_rows_goes_with_them(anywhere: Project) -> None:
    one, _ = _ingest(anywhere, 1, bad=3), _ingest(anywhere, 2, bad=0)
    objects, receipts = _kept(anywhere)
    published = published_table("trips", anywhere.store).partitions()

    def upkeep(days: int) -> tuple[int, int]:
        reports = maintain_tables(anywhere.catalog, anywhere.store, {}, _in_days(days))
        return reports[-1].expired_rows, reports[-1].expired_outputs

    assert upkeep(89) == (0, 0)
    assert _kept(anywhere) == (objects, receipts)
    assert upkeep(91) == (3, 4)
    outputs = one["validate"].outputs
    gone = {one["extract"].outputs["staged"], *(outputs[name] for name in ("bad", "gx_result", "gx_page"))}
    assert _kept(anywhere) == (
        objects - {output.sha256 for output in gone},
        receipts - {one["extract"].run_key, one["validate"].run_key},
    )
    assert published_table("trips", anywhere.store).partitions() == published
    assert upkeep(91) == (0, 0)

    ingest(anywhere.catalog.dataset("trips"), "2024-01-01", anywhere.store)
    assert _kept(anywhere)[1] >= receipts
    assert published_table("trips", anywhere.store).partitions() == published


def test_rows_that_were_staged_stay_once_a_mended_rule_lets_all_of_them_pass(project: Project) -> None:
    one = _ingest(project, 1, bad=3)
    objects, receipts = _kept(project)
    project.edit("datasets/trips.yaml", "value_set: [BER, MUC, OSL]", "value_set: [BER, MUC, OSL, XXX]")
    staged = one["extract"].outputs["staged"]
    run_step(
        validate.plan(project.catalog.dataset("trips"), "2024-01-01", staged, 0, project.store), project.store
    )
    maintain_tables(project.catalog, project.store, {}, _in_days(91))
    left = _kept(project)
    outputs = one["validate"].outputs
    assert objects - left[0] == {outputs[name].sha256 for name in ("bad", "gx_result", "gx_page")}
    assert receipts - left[1] == {one["validate"].run_key}
