"""Small groups are left out of a training set, or stop it; what is left is k-anonymous."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.lifecycle.data.point_in_time import read_rows
from include.lifecycle.data.privacy.anonymity import anonymous, privacy_of, quasi_identifiers
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project


def _spec(name: str = "things", **privacy: Any) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {
            "name": name,
            "description": "things",
            "partition": "day",
            "schedule": {"start": "2024-01-01"},
            "source": {"type": "files", "path": "{partition:%Y-%m-%d}.csv"},
            "columns": {"id": "string", "at": "timestamp", "born": "string", "city": "string"},
            "key": ["id"],
            "event_time": "at",
            "privacy": privacy or None,
        }
    )


def _grouped(pairs: list[tuple[str | None, int]]) -> pd.DataFrame:
    sizes = Counter(pairs)
    rows = pd.DataFrame(pairs, columns=["born", "city"])
    return rows.assign(_group=[sizes[pair] for pair in pairs])


@given(
    pairs=st.lists(st.tuples(st.sampled_from([None, "a", "b", "c"]), st.integers(0, 3)), max_size=60),
    k=st.integers(2, 8),
)
def test_what_is_left_is_k_anonymous_and_nothing_is_lost(pairs: list[Any], k: int) -> None:
    rows = _grouped(pairs)
    found = anonymous(rows, {"things": _spec(quasi_identifiers=["born", "city"], k=k)})
    left = Counter(zip(found.rows["born"], found.rows["city"], strict=True))
    assert all(count >= k for count in left.values())
    assert len(found.rows) + found.suppressed == len(rows)
    assert found.suppressed == sum(count for count in Counter(pairs).values() if count < k)
    assert found.smallest == (min(Counter(pairs).values()) if pairs else None)


def test_a_policy_may_refuse_small_groups() -> None:
    spec = _spec(quasi_identifiers=["born"], k=3, small_groups="stop")
    rows = _grouped([("a", 1)] * 3 + [("b", 1)])
    with pytest.raises(Rejected, match="1 of 4 rows are in groups of quasi-identifiers smaller than 3"):
        anonymous(rows, {"things": spec})


def test_of_two_policies_the_larger_k_counts() -> None:
    datasets = {
        "one": _spec("one", quasi_identifiers=["born"], k=2),
        "two": _spec("two", quasi_identifiers=["city"], k=4),
    }
    assert quasi_identifiers(datasets) == [("one", "born"), ("two", "city")]
    assert anonymous(_grouped([("a", 1)] * 3), datasets).suppressed == 3


def test_models_of_data_without_a_policy_carry_nothing() -> None:
    assert privacy_of({"things": _spec()}, None) == {}


def test_groups_are_counted_over_the_rows_that_are_trained_on(world: Project) -> None:
    model, catalog = world.catalog.model(tiny.MODEL), world.catalog
    datasets = {name: catalog.dataset(name) for name in ("trips", "sky")}
    pins = {"trips": 23, "sky": 23}
    quasi = [("trips", "city"), ("trips", "stops"), ("sky", "rain")]
    as_of, since = tiny.midnight(12), tiny.midnight(4)
    plain = read_rows(model, datasets, pins, world.store, as_of=as_of, since=since)
    rows = read_rows(model, datasets, pins, world.store, as_of=as_of, since=since, grouped_by=quasi)
    assert plain.equals(rows.drop(columns="_group"))
    sizes = plain.groupby(["city", "stops", "rain"], dropna=False)["_key"].transform("size")
    assert rows["_group"].tolist() == sizes.tolist()
    assert sizes.nunique() > 1


@given(
    rides=st.lists(
        st.tuples(
            st.sampled_from([None, "", "ada", "bob", "eve"]), st.sampled_from(tiny.CITIES), st.integers(0, 1)
        ),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=15)
def test_people_are_counted_where_rows_have_a_subject(
    tmp_path_factory: pytest.TempPathFactory, rides: list[Any]
) -> None:
    rows = tiny.trips(1, count=len(rides)).assign(delay=1.0)
    rows["rider"], rows["city"], rows["stops"] = zip(*rides, strict=True)
    with pytest.MonkeyPatch.context() as env:
        project = tiny.make_project(tmp_path_factory.mktemp("people") / "project", env)
        subject = "rider: string\nprivacy: {key: people, subject: rider}\nkey: [trip_id]"
        project.edit("datasets/trips.yaml", "key: [trip_id]", f"  {subject}")
        tiny.put(project, "sky", "2024-01-01", tiny.sky(1))
        tiny.put(project, "trips", "2024-01-01", rows)
        model, datasets = (
            project.catalog.model(tiny.MODEL),
            {n: project.catalog.dataset(n) for n in ("trips", "sky")},
        )
        found = read_rows(
            model,
            datasets,
            {"trips": 1, "sky": 1},
            project.store,
            as_of=tiny.midnight(9),
            grouped_by=[("trips", "city"), ("trips", "stops")],
        )
    nobody_is_one = rows.assign(rider=rows["rider"].fillna("")).set_index("trip_id")
    sizes = nobody_is_one.groupby(["city", "stops"])["rider"].transform("nunique")
    assert found["_group"].tolist() == sizes.loc[found["_key"]].tolist()
    assert "_subject" not in found
