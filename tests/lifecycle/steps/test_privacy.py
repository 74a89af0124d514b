"""From the source to the table with real steps: no raw value of a treated column is ever written."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from include.lifecycle.data.publishing import published_table, quarantine_table
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.steps import extract
from include.lifecycle.steps.running import run_step
from tests.lifecycle import people, tiny
from tests.lifecycle.tiny import Project

DAY = "2024-01-01"


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return people.make_private(tmp_path / "private", monkeypatch)


def _rows(project: Project) -> list[dict[str, object]]:
    table = published_table("trips", project.store).dataset()
    assert table is not None
    found: list[dict[str, object]] = table.to_table().to_pylist()
    return found


def test_no_byte_of_the_store_or_the_log_holds_a_raw_value(
    private: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rows = people.rides(1)
    rows.loc[0, "distance"] = 5000.0  # breaks a rule
    rows["distance"] = rows["distance"].astype(object)
    rows.loc[1, "distance"] = "far"  # is no number
    rows.loc[2, "born"] = "on a 3rd of May"  # is no time
    _, validated, _ = people.ingest(private, rows, DAY)
    assert validated.counts["quarantined"] == 3
    quarantined = quarantine_table("trips", private.store).dataset()
    assert quarantined is not None
    assert "<not a time>" in str(quarantined.to_table().to_pylist())
    searched = [*people.everything(private.store), ("the log", caplog.text)]
    assert any("gx" in text for _, text in searched)
    for raw in [*people.RAW, "3rd of May", people.KEY]:
        assert [name for name, text in searched if raw in text] == []


def test_treated_columns_are_published_as_the_policy_says(private: Project) -> None:
    people.ingest(private, people.rides(1), DAY)
    for row in _rows(private):
        assert "full_name" not in row
        assert str(row["rider"]).startswith("k1_")
        assert len(str(row["rider"])) == 35
        assert f"{row['born']:%m-%d}" == "01-01"
        assert row["post_code"] == "QX"
    assert len({row["rider"] for row in _rows(private)}) == people.RIDERS


def test_another_key_makes_another_extraction_with_other_pseudonyms(private: Project) -> None:
    first, _, _ = people.ingest(private, people.rides(1), DAY)
    before = {row["rider"] for row in _rows(private)}
    rotated = people.connections_with(login="k2", password=people.NEXT_KEY, k1=people.KEY)
    second, _, published = people.ingest_delivered(private, DAY, rotated)
    after = {row["rider"] for row in _rows(private)}
    assert first.run_key != second.run_key
    assert published.results["changed"]
    assert len(before) == len(after) == people.RIDERS
    assert not before & after
    assert people.KEY not in second.model_dump_json()


def test_a_new_key_of_the_old_name_is_noticed(private: Project) -> None:
    spec = private.catalog.dataset("trips")
    tiny.deliver(private, people.rides(1), "trips", DAY)
    call = extract.plan(spec, DAY, private.store, people.connections)
    other = people.connections_with(password=people.NEXT_KEY)
    assert extract.plan(spec, DAY, private.store, other).run_key != call.run_key
    with pytest.raises(Transient, match="the key changed"):
        run_step(call, private.store, other)


@pytest.mark.parametrize("password", ["", "short"])
def test_a_weak_key_is_refused_without_showing_it(private: Project, password: str) -> None:
    tiny.deliver(private, people.rides(1), "trips", DAY)
    weak = people.connections_with(password=password)
    with pytest.raises(
        Rejected, match="connection 'people': key 'k1' is missing or shorter than 16"
    ) as error:
        extract.plan(private.catalog.dataset("trips"), DAY, private.store, weak)
    assert not password or f"{password!r}" not in str(error.value)


def test_untreated_personal_data_stop_the_partition_before_it_is_staged(private: Project) -> None:
    private.edit("datasets/trips.yaml", "rider: {type: string, privacy: pseudonym}", "rider: string")
    with pytest.raises(Rejected, match=r"rider \(mail, 100% of its values\).*drop, pseudonym") as error:
        people.ingest(private, people.rides(1), DAY)
    assert "secret" not in str(error.value)
    assert private.store.list("objects") == []


def test_untreated_personal_data_are_flagged_where_the_policy_says_so(
    private: Project, caplog: pytest.LogCaptureFixture
) -> None:
    private.edit("datasets/trips.yaml", "rider: {type: string, privacy: pseudonym}", "rider: string")
    private.edit("datasets/trips.yaml", "untreated: stop", "untreated: flag")
    extracted, _, _ = people.ingest(private, people.rides(1), DAY)
    assert extracted.results["personal_data"]["rider"]["kind"] == "mail"
    assert "rider (mail, 100% of its values)" in caplog.text
    assert "secret" not in caplog.text


def test_a_column_that_was_looked_at_and_kept_is_not_flagged(private: Project) -> None:
    private.edit(
        "datasets/trips.yaml",
        "rider: {type: string, privacy: pseudonym}",
        "rider: {type: string, privacy: keep}",
    )
    extracted, _, _ = people.ingest(private, people.rides(1), DAY)
    assert extracted.results["personal_data"] == {}


def test_two_datasets_with_one_key_join_on_the_pseudonym(private: Project) -> None:
    people.ingest(private, people.rides(1), DAY)
    trips = {row["rider"] for row in _rows(private)}
    path = private.specs / "datasets/riders.yaml"
    path.write_text(
        "description: riders\npartition: day\nschedule: {start: 2024-01-01}\n"
        'source: {type: files, path: "riders/{partition:%Y-%m-%d}.csv"}\n'
        "columns: {rider: {type: string, privacy: pseudonym}, at: timestamp}\n"
        "key: [rider]\nevent_time: at\nprivacy: {key: people}\n"
    )
    rows = people.rides(1)[["rider", "at"]].drop_duplicates("rider")
    tiny.deliver(private, rows, "riders", DAY)
    spec = open_catalog().dataset("riders")
    call = extract.plan(spec, DAY, private.store, people.connections)
    extracted, _ = run_step(call, private.store, people.connections)
    file = private.store.fetch(extracted.outputs["staged"], private.root / "riders.parquet")
    import pyarrow.parquet as pq

    assert set(pq.read_table(file).column("rider").to_pylist()) == trips
