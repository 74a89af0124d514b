"""A training under a privacy policy: small groups left out, old policies refused, all of it carried."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from include.lifecycle.errors import Rejected
from include.lifecycle.steps import train
from include.lifecycle.steps.register import _tags
from include.lifecycle.store.receipts import Receipt
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


def test_rows_of_small_groups_are_left_out_and_counted(private: Project) -> None:
    private.edit("datasets/trips.yaml", "[born, post_code]", "[rider]")
    sizes = Counter(_rides()["rider"])
    k = sorted(sizes.values())[3]
    private.edit("datasets/trips.yaml", "k: 3", f"k: {k}")
    trained = _trained(private)
    suppressed = sum(count for count in sizes.values() if count < k)
    assert suppressed > 0
    counts = trained.counts
    assert counts["suppressed"] == suppressed
    assert counts["rows_in"] == counts["rows"] + suppressed == sum(sizes.values())
    privacy = trained.results["privacy"]
    assert privacy["smallest_group"] == min(sizes.values())
    assert (privacy["k"], privacy["suppressed"]) == (k, suppressed)
    gate = pd.read_parquet(private.store.fetch(trained.outputs["gate"], private.root / "gate.parquet"))
    ridden = _rides().set_index("trip_id").loc[gate["_key"], "rider"]
    assert all(sizes[rider] >= k for rider in ridden)


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
    with pytest.raises(Rejected, match="480 of 480 rows share their quasi-identifiers with fewer than 3"):
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


def test_models_without_a_policy_are_as_they_were(trained: Receipt) -> None:
    assert "privacy" not in trained.results
    assert set(trained.counts) == {"rows", "gate_rows"}
    assert "privacy" not in _tags(trained)
