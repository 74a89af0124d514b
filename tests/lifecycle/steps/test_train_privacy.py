"""A training under a privacy policy: small groups left out, old policies refused, all of it carried."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from include.lifecycle.errors import Rejected
from include.lifecycle.steps import train
from include.lifecycle.steps.register import _tags
from include.lifecycle.store.receipts import Call, Receipt
from tests.lifecycle import people, tiny
from tests.lifecycle.tiny import Project

DAYS = 9


@pytest.fixture(scope="module")
def rides_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("private") / "project"
    with pytest.MonkeyPatch.context() as env:
        people.put_days(people.make_private(root, env), 1, DAYS)
    return root


@pytest.fixture
def private(rides_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return tiny.copy_of(rides_template, tmp_path / "private", monkeypatch)


def _trained(project: Project) -> Receipt:
    return tiny.train_as_of(project, tiny.midnight(DAYS + 1))


def _rides() -> pd.DataFrame:
    """The rows whose delay was known by then: all but the last day's."""
    return pd.concat([people.rides(day) for day in range(1, DAYS)], ignore_index=True)


def test_rows_of_groups_of_few_people_are_left_out_and_counted(private: Project) -> None:
    quasi, k = ["city", "stops", "express"], people.RIDERS
    private.edit("datasets/trips.yaml", "[born, post_code]", "[city, stops, express]")
    private.edit("datasets/trips.yaml", "k: 3", f"k: {k}")
    rides = _rides().set_index("trip_id")
    sizes = rides.groupby(quasi)["rider"].transform("nunique")
    trained = _trained(private)
    suppressed = int((sizes < k).sum())
    assert 0 < suppressed < len(rides)
    counts = trained.counts
    assert counts["suppressed"] == suppressed
    assert counts["rows_in"] == counts["rows"] + suppressed == len(rides)
    privacy = trained.results["privacy"]
    assert privacy["smallest_group"] == sizes.min()
    assert (privacy["k"], privacy["suppressed"]) == (k, suppressed)
    gate = pd.read_parquet(private.store.fetch(trained.outputs["gate"], private.root / "gate.parquet"))
    assert (sizes.loc[gate["_key"]] >= k).all()


def test_many_rows_of_one_person_are_no_crowd(private: Project) -> None:
    private.edit("datasets/trips.yaml", "[born, post_code]", "[rider]")
    assert _rides()["rider"].value_counts().min() > 3
    with pytest.raises(Rejected, match="every row shares its quasi-identifiers with too few others"):
        _trained(private)


def test_a_model_carries_the_policies_of_its_data(private: Project) -> None:
    trained = _trained(private)
    privacy = trained.results["privacy"]
    assert privacy["datasets"]["trips"]["treatments"] == {
        "rider": "pseudonym",
        "full_name": "drop",
        "born": "generalise: period year",
        "post_code": "generalise: prefix 2",
    }
    assert set(privacy["datasets"]) == {"trips"}
    assert privacy["quasi_identifiers"] == ["trips.born", "trips.post_code"]
    assert trained.counts["suppressed"] == 0
    assert '"smallest_group":' in _tags(trained)["privacy"]


def test_a_policy_may_stop_the_training(private: Project) -> None:
    private.edit("datasets/trips.yaml", "[born, post_code]", "[trip_id]")
    private.edit("datasets/trips.yaml", "k: 3", "k: 3\n  small_groups: stop")
    with pytest.raises(Rejected, match="480 of 480 rows are in groups of quasi-identifiers smaller than 3"):
        _trained(private)


def test_a_training_without_any_large_group_is_refused(private: Project) -> None:
    private.edit("datasets/trips.yaml", "[born, post_code]", "[trip_id]")
    with pytest.raises(Rejected, match="every row shares its quasi-identifiers with too few others"):
        _trained(private)


def test_nobodys_row_is_kept_as_example_or_sample(private: Project) -> None:
    trained = _trained(private)
    sample = pd.read_parquet(private.store.fetch(trained.outputs["sample"], private.root / "sample.parquet"))
    true = set(_rides()[["distance", "stops"]].itertuples(index=False, name=None))
    kept = list(sample[["distance", "stops"]].itertuples(index=False, name=None))
    assert set(sample["distance"]) == set(_rides()["distance"])
    assert sum(pair in true for pair in kept) < len(kept) / 2
    assert private.store.read(trained.outputs["example"]).count(b'"city"') == 1


def test_data_of_an_older_policy_are_refused_until_they_are_ingested_again(private: Project) -> None:
    private.edit("datasets/trips.yaml", "prefix: 2", "prefix: 1")
    with pytest.raises(
        Rejected,
        match=r"trips: the partitions 2024-01-01, .* and 4 more were published under another",
    ):
        train.plan(private.catalog.model(tiny.MODEL), private.catalog, tiny.midnight(DAYS + 1), private.store)
    people.put_days(private, 1, DAYS)
    assert _trained(private).counts["rows"] == 480


def _planned(project: Project) -> Call:
    return train.plan(project.catalog.model(tiny.MODEL), project.catalog, tiny.midnight(12), project.store)


@pytest.mark.parametrize(("old", "new"), [("k: 3", "k: 4"), ("k: 3", "k: 3\n  small_groups: stop")])
def test_a_stricter_policy_looks_like_a_changed_spec(private: Project, old: str, new: str) -> None:
    before = train.fingerprint(_planned(private))
    private.edit("datasets/trips.yaml", old, new)
    assert train.fingerprint(_planned(private)) != before


def test_pseudonyms_of_two_keys_are_refused_until_the_older_ones_are_ingested_again(private: Project) -> None:
    rotated = people.connections_with(login="k2", password=people.NEXT_KEY, k1=people.KEY)
    rows = people.rides(DAYS + 1).drop(index=[2, 20, 40])
    people.ingest(private, rows, f"{tiny.midnight(DAYS + 1):%Y-%m-%d}", rotated)
    with pytest.raises(
        Rejected,
        match=r"trips: the pseudonyms of the partitions 2024-01-01, .* and 4 more were made with another key "
        "than the newest ones; ingest them again",
    ):
        _planned(private)
    for day in range(1, DAYS + 1):
        people.ingest(private, people.rides(day), f"{tiny.midnight(day):%Y-%m-%d}", rotated)
    assert _planned(private).step == "train"


def test_models_without_a_policy_are_as_they_were(trained: Receipt) -> None:
    assert "privacy" not in trained.results
    assert set(trained.counts) == {"rows", "gate_rows"}
    assert "privacy" not in _tags(trained)
