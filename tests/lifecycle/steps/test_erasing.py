"""A person is erased from everything that the store holds, and from nothing else."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.lifecycle.data.maintenance import maintain
from include.lifecycle.data.privacy.pseudonyms import keys_of
from include.lifecycle.data.publishing import published_table, quarantine_table, scores_table
from include.lifecycle.errors import LifecycleError, Rejected
from include.lifecycle.model.packaging import fetch_package, package_of
from include.lifecycle.model.registry import Registry
from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.steps.erasing import ErasureReport, Marked, erase
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.forgetting import files_of
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import read_receipt
from tests.lifecycle import people, tiny
from tests.lifecycle.people import ADA, ADA_RIDES_FROM, Dies
from tests.lifecycle.tiny import Project

LAST_DAY = ADA_RIDES_FROM + 3
BROKEN = 20
"""The row of hers that is in quarantine on her second day."""


class World:
    """Days without Ada and a training on them, days with her and another training, and a log."""

    def __init__(self, project: Project, before: str, after: str) -> None:
        self.project, self.before, self.after = project, before, after

    @property
    def hers(self) -> str:
        return keys_of(open_catalog().dataset("trips"), people.connections).current.pseudonym(ADA)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    root = tmp_path_factory.mktemp("erasing") / "project"
    with pytest.MonkeyPatch.context() as env:
        project = people.make_private(root, env)
        people.put_days(project, 1, ADA_RIDES_FROM - 1)
        before = tiny.train_as_of(project, tiny.midnight(ADA_RIDES_FROM))
        for day in range(ADA_RIDES_FROM, LAST_DAY + 1):
            rows = people.rides(day)
            if day == ADA_RIDES_FROM + 1:
                rows.loc[[BROKEN, BROKEN + 1], "distance"] = 5000.0
            tiny.put(project, "sky", f"{tiny.midnight(day):%Y-%m-%d}", tiny.sky(day))
            people.ingest(project, rows, f"{tiny.midnight(day):%Y-%m-%d}")
        after = tiny.train_as_of(project, tiny.midnight(LAST_DAY + 1))
        _log_predictions(project.store, root)
    return root, before.run_key, after.run_key


@pytest.fixture
def riders(made: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tiny.copy_of(made[0], tmp_path / "riders", monkeypatch), *made[1:])


class Marks:
    """A registry that has a version of every training."""

    def __init__(self) -> None:
        self.marked: dict[str, str] = {}

    def mark_irreproducible(self, model: str, run_key: str, why: str) -> str | None:
        self.marked[run_key] = why
        return "7"


def _log_predictions(store: Store, scratch: Path) -> None:
    """Every trip of two days was predicted once, and scored in a table."""
    for number, day in enumerate((ADA_RIDES_FROM - 1, LAST_DAY), start=1):
        rows = people.rides(day)
        table = pa.table(
            {
                "request_id": [f"r{day}-{key}" for key in rows["trip_id"]],
                "key": rows["trip_id"],
                "event_time": pa.array(rows["at"], pa.timestamp("us", tz="UTC")),
                "version": ["1"] * len(rows),
                "score": [0.5] * len(rows),
                "inputs": rows[["city", "distance"]].apply(lambda row: row.to_json(), axis=1),
                "_partition": [f"{tiny.midnight(day):%Y-%m-%d}"] * len(rows),
            }
        )
        prediction_log(tiny.MODEL, store).append_once(table, "server", number)
        pq.write_table(table.select(["key", "event_time", "score", "version"]), scratch / "scores.parquet")
        scores_table(tiny.MODEL, store).publish(
            f"{tiny.midnight(day):%Y-%m-%d}", "label", scratch / "scores.parquet", "run"
        )


def _erase(world: World, registry: Any = None, subject: str = ADA) -> ErasureReport:
    return erase(
        "trips",
        subject,
        catalog=open_catalog(),
        store=world.project.store,
        connections=people.connections,
        registry=registry or Marks(),
        reason="she asked for it",
        actor=tiny.ACTOR,
    )


def _table(table: Any) -> pd.DataFrame:
    return table.dataset().to_table().to_pandas()


def _holding(world: World, *words: str) -> list[str]:
    """Files of the store that say one of the words."""
    everything = people.everything(world.project.store)
    return [name for name, text in everything if any(word in text for word in words)]


def _her_trips() -> list[str]:
    return [people.rides(day)["trip_id"][row] for day in range(10, LAST_DAY + 1) for row in (2, 20, 40)]


def test_the_person_is_nowhere_in_the_store_afterwards(riders: World) -> None:
    assert {path.split("/")[0] for path in _holding(riders, riders.hers)} == {
        "objects",
        "quarantine",
        "tables",
    }
    _erase(riders)
    assert _holding(riders, riders.hers, ADA, "QX7 1AL", *_her_trips()) == []
    assert ADA not in str(list(people.everything(riders.project.store)))


def test_everybody_elses_rows_are_still_there(riders: World) -> None:
    store = riders.project.store
    tables = [
        published_table("trips", store),
        quarantine_table("trips", store),
        prediction_log(tiny.MODEL, store),
        scores_table(tiny.MODEL, store),
    ]
    before = [_table(table) for table in tables]
    report = _erase(riders)
    columns = ["trip_id", "row", "key", "key"]
    for table, rows, column in zip(tables, before, columns, strict=True):
        theirs = rows[~rows[column].str.contains("|".join(_her_trips()))]
        pd.testing.assert_frame_equal(
            _table(table).sort_values(column, ignore_index=True),
            theirs.sort_values(column, ignore_index=True),
        )
        assert report.rows[table.name] == len(rows) - len(theirs) > 0
    assert sum(report.rows.values()) == 12 + 3 + 3
    assert published_table("trips", store).partitions().keys() == {
        f"{tiny.midnight(day):%Y-%m-%d}" for day in range(1, LAST_DAY + 1)
    }


def test_a_training_on_an_untouched_version_still_reproduces(riders: World) -> None:
    store = riders.project.store
    _erase(riders)
    old = read_receipt(riders.before, store)
    store.remove(f"receipts/{riders.before}.json")
    again, adopted = run_step(old.call, store)
    assert not adopted
    assert again.outputs == old.outputs


def test_a_training_on_a_version_that_held_her_says_why_it_cannot_be_repeated(riders: World) -> None:
    store = riders.project.store
    _erase(riders)
    old = read_receipt(riders.after, store)
    store.remove(f"receipts/{riders.after}.json")
    with pytest.raises(Rejected, match=r"trips at version \d+.*: files are gone, since somebody was erased"):
        run_step(old.call, store)


def test_her_rows_leave_the_gate_of_a_training_whose_receipt_stays_valid(riders: World) -> None:
    store = riders.project.store
    whole = read_receipt(riders.after, store)
    before = pd.read_parquet(store.fetch(whole.outputs["gate"], riders.project.root / "gate.parquet"))
    assert _erase(riders).amended == 1
    rest = read_receipt(riders.after, store)
    after = pd.read_parquet(store.fetch(rest.outputs["gate"], riders.project.root / "gate.parquet"))
    assert len(after) < len(before)
    assert set(before["_key"]) - set(after["_key"]) <= set(_her_trips())
    assert package_of(rest.outputs) == package_of(whole.outputs)


def test_exactly_the_versions_whose_data_held_her_are_marked(riders: World) -> None:
    marks = Marks()
    report = _erase(riders, marks)
    assert list(marks.marked) == [riders.after]
    assert "a person was erased from trips" in marks.marked[riders.after]
    assert report.marked == (Marked(model="late", version="7", run_key=riders.after),)


def test_the_mark_is_a_tag_of_the_registered_version(
    riders: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment(tiny.MODEL, artifact_location=f"file://{tmp_path}/artifacts")
    registry = Registry(uri)
    versions = {key: _register(registry, riders, key, tmp_path) for key in (riders.before, riders.after)}
    _erase(riders, registry)
    client = mlflow.MlflowClient(uri)
    tags = {key: client.get_model_version(tiny.MODEL, version).tags for key, version in versions.items()}
    assert tags[riders.after]["reproducible"] == "false"
    assert "erased" in tags[riders.after]["reproducible_why"]
    assert "reproducible" not in tags[riders.before]


def _register(registry: Registry, riders: World, run_key: str, scratch: Path) -> str:
    trained = read_receipt(run_key, riders.project.store)
    package = scratch / run_key[:8]
    package.mkdir()
    fetch_package(trained, riders.project.store, package)
    example = pd.DataFrame(
        {"city": ["BER"], "distance": [1.0], "stops": [1.0], "express": [1.0], "rain": [0.0]}
    ).assign(at=pd.to_datetime(["2024-02-01"]))
    return registry.register(
        tiny.MODEL, run_key, package, example,
        description="late", parameters={}, metrics={}, tags={}, documents={},
    ).version  # fmt: skip


def test_the_report_says_how_much_and_never_whom(riders: World) -> None:
    _erase(riders)
    store = riders.project.store
    (path,) = store.list("erasures/trips/reports")
    written = store.get(path) or b""
    assert ADA.encode() not in written
    report = ErasureReport.model_validate_json(written)
    assert report.files["trips"] == LAST_DAY - ADA_RIDES_FROM + 1
    assert report.objects >= 2 * 4
    assert report.reason == "she asked for it"
    (subject,) = store.list("erasures/trips/subjects")
    assert json.loads(store.get(subject) or b"{}")["actor"] == "tester"


def test_a_later_ingest_of_the_same_source_leaves_her_out(riders: World) -> None:
    _erase(riders)
    day = f"{tiny.midnight(LAST_DAY):%Y-%m-%d}"
    extracted, _, published = people.ingest_delivered(riders.project, day)
    assert extracted.counts == {"rows_in": 60, "suppressed": 3}
    counts = published.counts
    assert counts["suppressed"] == 3
    assert counts["rows_in"] == counts["published"] + counts["quarantined"] + counts["repeated"] + 3
    assert _holding(riders, riders.hers, ADA) == []


def test_erasing_again_changes_nothing(riders: World) -> None:
    _erase(riders)
    store = riders.project.store
    before = {name for name, _ in people.everything(store)}
    report = _erase(riders)
    assert set(report.rows.values()) == {0}
    assert (report.objects, report.receipts, report.marked) == (0, 0, ())
    assert {name for name, _ in people.everything(store)} - before == {
        store.list("erasures/trips/reports")[1]
    }


@pytest.mark.parametrize("after", [0, 1, 3, 9, 14])
def test_a_run_that_died_half_way_is_finished_by_the_next(riders: World, after: int) -> None:
    store, first, second = riders.project.store, Marks(), Marks()
    with pytest.raises(LifecycleError, match="went away"):
        _erase(World(Project(riders.project.root, Dies(store.uri, after)), "", ""), first)
    _erase(riders, second)
    assert _holding(riders, riders.hers, ADA, *_her_trips()) == []
    assert set(first.marked) | set(second.marked) == {riders.after}
    assert read_receipt(riders.after, store)


def test_rows_that_were_pseudonymised_under_a_retired_key_go_too(riders: World) -> None:
    rotated = people.connections_with(login="k2", password=people.NEXT_KEY, k1=people.KEY)
    project, day = riders.project, f"{tiny.midnight(LAST_DAY):%Y-%m-%d}"
    people.ingest_delivered(project, day, rotated)
    new = keys_of(open_catalog().dataset("trips"), rotated).current.pseudonym(ADA)
    assert _holding(riders, new)
    erase(
        "trips", ADA, catalog=open_catalog(), store=project.store, connections=rotated, registry=Marks(),
        reason="she asked", actor=tiny.ACTOR,
    )  # fmt: skip
    assert _holding(riders, new, riders.hers) == []


def test_somebody_unknown_is_remembered_and_nothing_else_happens(riders: World) -> None:
    store = riders.project.store
    before = {name for name, _ in people.everything(store)}
    report = _erase(riders, subject="nobody@example.org")
    assert set(report.rows.values()) == {0}
    assert all(
        name.startswith("erasures/") for name in {name for name, _ in people.everything(store)} - before
    )
    assert before <= {name for name, _ in people.everything(store)}


def test_a_dataset_without_a_subject_says_so(project: Project) -> None:
    with pytest.raises(Rejected, match=r"trips.yaml: privacy.subject is missing"):
        _erase(World(project, "", ""))


def _in_clear_text(project: Project) -> pd.DataFrame:
    """Twenty trips of two riders who are known by a number; the dataset tells them by it."""
    rider = "  rider: {type: integer, privacy: keep}\n"
    project.edit("datasets/trips.yaml", "  stops: integer\n", f"  stops: integer\n{rider}")
    project.edit("datasets/trips.yaml", "quarantine:", "privacy: {key: people, subject: rider}\nquarantine:")
    return tiny.trips(1, 20).assign(rider=["71001", "71002"] * 10)


def test_a_subject_in_clear_text_is_erased_too(project: Project) -> None:
    rows = _in_clear_text(project)
    rows.loc[3, "rider"] = "0071002"
    rows.loc[[4, 5], "distance"] = 5000.0
    people.ingest(project, rows, "2024-01-01")
    world = World(project, "", "")
    assert len(_holding(world, "71002")) >= 4
    report = _erase(world, subject="71002")
    assert report.rows == {"trips": 9, "quarantine/trips": 1, "predictions__late": 0, "scores__late": 0}
    assert _holding(world, "71002") == []
    assert set(_table(published_table("trips", project.store))["rider"]) == {71_001}


def test_a_row_that_says_the_same_word_elsewhere_stays(project: Project) -> None:
    rows = _in_clear_text(project)
    rows.loc[[6, 8], "trip_id"] = ["71002", "71003"]
    rows.loc[8, "distance"] = 5000.0
    people.ingest(project, rows, "2024-01-01")
    report = _erase(World(project, "", ""), subject="71002")
    assert report.rows == {"trips": 10, "quarantine/trips": 0, "predictions__late": 0, "scores__late": 0}
    assert "71002" in set(_table(published_table("trips", project.store))["trip_id"])


def test_upkeep_goes_on_although_a_pinned_version_lost_files(riders: World) -> None:
    table = published_table("trips", riders.project.store)
    pin = read_receipt(riders.after, riders.project.store).call.inputs["versions"]["trips"]
    _erase(riders)
    rows = _table(table)
    done = maintain(table, [pin], timedelta(0))
    assert done.kept_versions == (pin,)
    assert len(_table(table)) == len(rows)


def test_old_versions_that_never_held_her_can_be_read(riders: World) -> None:
    table = published_table("trips", riders.project.store)
    newest = table.version() or 0
    hers = set(_files_with_her(riders))
    clean = [version for version in range(newest + 1) if not files_of(table, version) & hers]
    assert 0 < len(clean) <= newest
    _erase(riders)
    for version in clean:
        found = table.dataset(version)
        assert found is not None
        found.to_table()


def _files_with_her(world: World) -> list[str]:
    return [
        name.removeprefix("tables/trips/")
        for name in _holding(world, world.hers)
        if name.startswith("tables/trips/")
    ]
