"""A person is erased although keys, columns and spellings change, and work is in flight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from include.lifecycle.data.privacy.treatment import treatment_of
from include.lifecycle.data.publishing import published_table, quarantine_table
from include.lifecycle.errors import LifecycleError, Rejected, Transient
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.steps import evaluate, extract, publish, register, validate
from include.lifecycle.steps.erasing import ErasureReport, erase
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.objects import Output, Store
from tests.lifecycle import people, tiny
from tests.lifecycle.people import ADA, KEY, NEXT_KEY, Dies, connections_with
from tests.lifecycle.tiny import Project

DAY = "2024-01-10"
NUMBER = people.ADA_RIDES_FROM


class NoRegistry:
    """A registry without models."""

    def mark_irreproducible(self, model: str, run_key: str, why: str) -> str | None:
        return None


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return people.make_private(tmp_path / "private", monkeypatch)


def _erase(store: Store, subject: str = ADA) -> ErasureReport:
    return erase(
        "trips", subject, catalog=open_catalog(), store=store, connections=people.connections,
        registry=NoRegistry(), reason="asked", actor=tiny.ACTOR,
    )  # fmt: skip


def _holding(store: Store, *words: str) -> list[str]:
    """Files of the store, those of the tables' logs apart, that say one of the words."""
    return [name for name, text in people.everything(store) if any(word in text for word in words)]


def _by_number(project: Project, kind: str = "integer") -> None:
    """Trips whose riders are known by a number, in clear text."""
    rider = f"  rider: {{type: {kind}, privacy: keep}}\n"
    project.edit("datasets/trips.yaml", "  stops: integer\n", f"  stops: integer\n{rider}")
    project.edit("datasets/trips.yaml", "quarantine:", "privacy: {key: people, subject: rider}\nquarantine:")


def test_rows_from_before_the_column_became_a_pseudonym_are_erased(project: Project) -> None:
    _by_number(project, "string")
    people.ingest(project, tiny.trips(1, 20).assign(rider=["ada71", "eve72"] * 10), "2024-01-01")
    project.edit("datasets/trips.yaml", "{type: string, privacy: keep}", "{type: string, privacy: pseudonym}")
    people.ingest(project, tiny.trips(2, 20).assign(rider=["ada71", "eve72"] * 10), "2024-01-02")
    assert _erase(project.store, "ada71").rows["trips"] == 20
    assert _holding(project.store, "ada71") == []
    assert published_table("trips", project.store).dataset().count_rows() == 20


def test_another_secret_under_the_name_of_the_key_is_refused(private: Project) -> None:
    _erase(private.store)
    spec = open_catalog().dataset("trips")
    with pytest.raises(Rejected, match=r"key 'k1' of the connection is not the one.*put it back") as error:
        treatment_of(spec, connections_with(password=NEXT_KEY), private.store)
    assert NEXT_KEY not in str(error.value)
    treatment_of(spec, connections_with(login="k2", password=NEXT_KEY, k1=KEY), private.store)


def test_who_was_erased_by_one_column_stays_away_when_another_tells_people(private: Project) -> None:
    _erase(private.store)
    private.edit("datasets/trips.yaml", "subject: rider", "subject: trip_id")
    extracted, _, _ = people.ingest(private, people.rides(NUMBER), DAY)
    assert extracted.counts["suppressed"] == 3
    _erase(private.store, people.rides(NUMBER)["trip_id"][5])
    extracted, _, _ = people.ingest_delivered(private, DAY)
    assert extracted.counts["suppressed"] == 4


def test_a_column_that_people_were_erased_by_must_stay_in_the_spec(private: Project) -> None:
    _erase(private.store)
    private.edit("datasets/trips.yaml", "  rider: {type: string, privacy: pseudonym}\n", "")
    private.edit("datasets/trips.yaml", "subject: rider", "subject: trip_id")
    with pytest.raises(Rejected, match=r"erased by column 'rider', which is not in trips.yaml.*put it back"):
        people.ingest(private, people.rides(NUMBER), DAY)


@pytest.mark.parametrize("subject", ["71002", "0071002"])
def test_a_number_is_one_person_however_it_is_written(project: Project, subject: str) -> None:
    _by_number(project)
    rows = tiny.trips(1, 20).assign(rider=["71001", "71002"] * 10)
    rows.loc[[3, 5], "rider"] = "0071002"
    rows.loc[[5, 7], "distance"] = 5000.0
    people.ingest(project, rows, "2024-01-01")
    assert _erase(project.store, subject).rows == {
        "trips": 8,
        "quarantine/trips": 2,
        "predictions__late": 0,
        "scores__late": 0,
    }
    assert _holding(project.store, "71002") == []
    extracted, _, _ = people.ingest_delivered(project, "2024-01-01")
    assert extracted.counts["suppressed"] == 10


class Meanwhile(Store):
    """A store where something happens once, right after a method was first called."""

    def __init__(self, uri: str, method: str, happens: Callable[[], object]) -> None:
        super().__init__(uri)
        self._method, self._happens = method, [happens]

    def _called(self, method: str) -> None:
        if method == self._method and self._happens:
            self._happens.pop()()

    def fetch(self, output: Output, file: Path) -> Path:
        found = super().fetch(output, file)
        self._called("fetch")
        return found

    def keep_file(self, file: Path) -> Output:
        kept = super().keep_file(file)
        self._called("keep_file")
        return kept

    def copy_in(self, file: Path, path: str, what: str) -> None:
        super().copy_in(file, path, what)
        self._called("copy_in")

    def remove(self, path: str) -> None:
        super().remove(path)
        self._called("remove")


def _meanwhile(project: Project, method: str) -> Meanwhile:
    store = project.store
    return Meanwhile(store.uri, method, lambda: _erase(Store(store.uri)))


def test_an_extraction_in_flight_does_not_keep_who_is_erased(private: Project) -> None:
    tiny.deliver(private, people.rides(NUMBER), "trips", DAY)
    call = extract.plan(open_catalog().dataset("trips"), DAY, private.store, people.connections)
    with pytest.raises(Transient, match="somebody was erased"):
        run_step(call, _meanwhile(private, "keep_file"), people.connections)
    assert [name for name in _holding(private.store, "k1_") if name.startswith("objects/")] == []
    assert people.ingest_delivered(private, DAY)[0].counts["suppressed"] == 3


@pytest.mark.parametrize("method", ["fetch", "keep_file"])
def test_an_audit_in_flight_does_not_keep_who_is_erased(private: Project, method: str) -> None:
    store, spec = private.store, open_catalog().dataset("trips")
    tiny.deliver(private, people.rides(NUMBER), "trips", DAY)
    extracted, _ = run_step(extract.plan(spec, DAY, store, people.connections), store, people.connections)
    call = validate.plan(spec, DAY, extracted.outputs["staged"], 0, store)
    with pytest.raises(Transient, match=f"trips {DAY}: somebody was erased meanwhile; ingest"):
        run_step(call, _meanwhile(private, method))
    assert [name for name in _holding(store, "k1_") if name.startswith("objects/")] == []


@pytest.mark.parametrize("published_before", [False, True])
def test_a_publication_in_flight_does_not_bring_back_who_is_erased(
    private: Project, published_before: bool
) -> None:
    store, spec = private.store, open_catalog().dataset("trips")
    if published_before:
        people.ingest(private, people.rides(NUMBER, 50), DAY)
    over = published_table("trips", store).publication(DAY)
    tiny.deliver(private, people.rides(NUMBER), "trips", DAY)
    extracted, _ = run_step(extract.plan(spec, DAY, store, people.connections), store, people.connections)
    validated, _ = run_step(validate.plan(spec, DAY, extracted.outputs["staged"], 0, store), store)
    with pytest.raises(Transient, match=r"run again|somebody was erased meanwhile"):
        run_step(publish.plan(validated, over, store), _meanwhile(private, "copy_in"))
    people.ingest_delivered(private, DAY)
    assert published_table("trips", store).dataset().count_rows() == 57
    assert set(_riders(store)) & set(_pseudonyms()) == set()


def _riders(store: Store) -> list[str]:
    return published_table("trips", store).dataset().to_table().to_pandas()["rider"].tolist()


def _pseudonyms() -> list[str]:
    from include.lifecycle.data.privacy.pseudonyms import keys_of

    return [key.pseudonym(ADA) for key in keys_of(open_catalog().dataset("trips"), people.connections)]


@pytest.mark.parametrize("quarantined", [False, True])
def test_rows_that_were_read_before_an_erasure_do_not_replace_what_it_left(
    private: Project, quarantined: bool
) -> None:
    rows = people.rides(NUMBER)
    if quarantined:
        rows.loc[2, "distance"] = 5000.0
    people.ingest(private, rows, DAY)
    table = (quarantine_table if quarantined else published_table)("trips", private.store)
    file = private.root / "old.parquet"
    pd.DataFrame(table.dataset().to_table().to_pandas()).drop(columns=["_partition", "_content"]).to_parquet(
        file
    )
    over = table.publication(DAY)
    _erase(private.store)
    with pytest.raises(Transient, match=f"another run published {DAY} first"):
        table.publish(DAY, "other", file, "late", over=over)


def test_what_comes_while_it_is_removed_is_removed_too(private: Project) -> None:
    people.ingest(private, people.rides(NUMBER), DAY)
    spec, store = open_catalog().dataset("trips"), Store(private.store.uri)
    rows = people.rides(NUMBER + 1).assign(
        rider=_pseudonyms()[0], post_code="QX", born=pd.Timestamp("1960", tz="UTC")
    )
    late = Meanwhile(
        store.uri, "remove", lambda: tiny.put_rows(spec, "2024-01-11", rows, store, private.root)
    )
    report = _erase(late)
    assert report.rows["trips"] == 3 + 60
    assert _holding(store, *_pseudonyms()) == []


@pytest.mark.parametrize("after", [0, 1, 4, 8, 9])
def test_the_report_of_a_run_that_was_resumed_counts_everything(
    private: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    rows = people.rides(NUMBER)
    rows.loc[2, "distance"] = 5000.0
    people.ingest(private, rows, DAY)
    other = tiny.copy_of(private.root, tmp_path / "other", monkeypatch)
    whole = _erase(other.store)
    tiny.enter(private.root, monkeypatch)
    dying = Dies(private.store.uri, after)
    with pytest.raises(LifecycleError, match="went away"):
        _erase(dying)
    assert _erase(private.store).model_dump(exclude={"at"}) == whole.model_dump(exclude={"at"})
    assert (whole.rows["trips"], whole.rows["quarantine/trips"]) == (2, 1)
    assert whole.objects >= 3
    assert whole.receipts == 2
    assert private.store.list("erasures/trips/plans") == []
    assert _holding(private.store, *_pseudonyms()) == []


def test_receipts_go_before_the_objects_that_they_name(private: Project) -> None:
    people.ingest(private, people.rides(NUMBER), DAY)
    dying = Dies(private.store.uri, 1)
    objects = private.store.list("objects")
    with pytest.raises(LifecycleError, match="went away"):
        _erase(dying)
    assert private.store.list("objects") == objects


def test_a_version_is_registered_as_irreproducible_when_its_data_went_meanwhile(
    private: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment(tiny.MODEL, artifact_location=f"file://{tmp_path}/artifacts")
    people.put_days(private, 1, NUMBER + 2)
    trained = tiny.train_as_of(private, tiny.midnight(NUMBER + 3))
    _erase(private.store)
    evaluated, _ = run_step(evaluate.plan(trained, None, private.store), private.store)
    done, _ = run_step(register.plan(trained, evaluated, tiny.PASSED), private.store)
    tags = mlflow.MlflowClient(uri).get_model_version(tiny.MODEL, done.results["version"]).tags
    assert tags["reproducible"] == "false"
    assert "files of trips at version" in tags["reproducible_why"]
