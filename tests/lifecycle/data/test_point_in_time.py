from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.lifecycle.data.point_in_time import (
    EVENT_TIME,
    KEY,
    LABEL,
    count_labels,
    pin_versions,
    read_labels,
    read_rows,
    watermark,
    write_rows,
)
from include.lifecycle.data.types import arrow_schema
from include.lifecycle.errors import Rejected
from include.lifecycle.model.features import compute_features, input_types, load_feature_code
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.steps.train import datasets_of
from include.lifecycle.store.objects import Store
from tests.lifecycle import tiny
from tests.lifecycle.tiny import MODEL, Project, midnight

PROJECT_SPECS = Path(__file__).resolve().parents[3] / "include"
MICROSECOND = timedelta(microseconds=1)


def _read(project: Project, as_of: datetime, **how: Any) -> pd.DataFrame:
    model = project.catalog.model(MODEL)
    pins = how.pop("pins", None) or pin_versions(model, project.store)
    return read_rows(model, datasets_of(model, project.catalog), pins, project.store, as_of=as_of, **how)


minutes = st.integers(0, 2 * 24 * 60)


@given(
    asked=st.lists(st.tuples(st.sampled_from(tiny.CITIES), minutes), min_size=1, max_size=12),
    weather=st.lists(st.tuples(st.sampled_from(tiny.CITIES), minutes), min_size=1, max_size=30, unique=True),
    lag=st.integers(0, 180),
    tolerance=st.integers(0, 600),
)
@settings(max_examples=20)
def test_each_row_is_joined_with_the_newest_row_that_is_old_enough_and_never_a_later_one(
    tmp_path_factory: pytest.TempPathFactory,
    asked: list[tuple[str, int]],
    weather: list[tuple[str, int]],
    lag: int,
    tolerance: int,
) -> None:
    trips = tiny.trips(1, count=len(asked)).assign(
        city=[city for city, _ in asked],
        at=[midnight(1) + timedelta(minutes=at) for _, at in asked],
    )
    sky = pd.DataFrame(
        [(city, midnight(1) + timedelta(minutes=at), float(rain)) for rain, (city, at) in enumerate(weather)],
        columns=["city", "at", "rain"],
    )
    with pytest.MonkeyPatch.context() as env:
        project = tiny.make_project(tmp_path_factory.mktemp("asof") / "project", env)
        project.edit("models/late.yaml", "lag: 1h, tolerance: 3h", f"lag: {lag}m, tolerance: {tolerance}m")
        tiny.put(project, "trips", "2024-01-01", trips)
        tiny.put(project, "sky", "2024-01-01", sky)
        found = _read(project, midnight(30)).set_index(KEY)["rain"]

    for _, trip in trips.iterrows():
        newest = trip["at"] - timedelta(minutes=lag)
        known = sky[(sky["city"] == trip["city"]) & (sky["at"] <= newest)]
        known = known[known["at"] >= newest - timedelta(minutes=tolerance)].sort_values("at")
        expected = known["rain"].iloc[-1] if len(known) else np.nan
        np.testing.assert_equal(found[trip["trip_id"]], expected)


def test_a_label_is_absent_the_microsecond_before_it_matures(project: Project) -> None:
    event = midnight(1) + timedelta(hours=9, microseconds=123_457)
    tiny.put(project, "trips", "2024-01-01", tiny.trips(1, count=1).assign(at=event))
    tiny.put(project, "sky", "2024-01-01", tiny.sky(1))
    matures = event + timedelta(days=1)
    assert _read(project, matures - MICROSECOND).empty
    assert len(_read(project, matures)) == 1


@given(offset=st.integers(0, 10**11))
@settings(max_examples=15)
def test_maturity_is_exact_to_the_microsecond_at_any_time_of_day(project: Project, offset: int) -> None:
    event = midnight(1) + timedelta(microseconds=offset)
    model, datasets = project.catalog.model(MODEL), datasets_of(project.catalog.model(MODEL), project.catalog)
    version = tiny.put(project, "trips", "2024-01-01", tiny.trips(1, count=1).assign(at=event))
    counts = [
        count_labels(model, datasets["trips"], version, project.store, event + timedelta(days=1) + shift)
        for shift in (-MICROSECOND, timedelta(0))
    ]
    assert counts == [0, 1]


def test_rows_without_a_label_are_left_out(project: Project) -> None:
    rows = tiny.trips(1, count=4)
    rows.loc[[0, 2], "delay"] = np.nan
    tiny.put(project, "trips", "2024-01-01", rows)
    tiny.put(project, "sky", "2024-01-01", tiny.sky(1))
    assert set(_read(project, midnight(30))[KEY]) == {"001-0001", "001-0003"}


@pytest.mark.parametrize(("delay", "label"), [(9.9, 0.0), (10.0, 1.0), (-3.0, 0.0)])
def test_the_label_says_whether_the_bound_is_reached(project: Project, delay: float, label: float) -> None:
    tiny.put(project, "trips", "2024-01-01", tiny.trips(1, count=1).assign(delay=delay))
    tiny.put(project, "sky", "2024-01-01", tiny.sky(1))
    assert _read(project, midnight(30))[LABEL].tolist() == [label]


def test_rows_come_oldest_first_with_key_time_inputs_and_label(world: Project) -> None:
    rows = _read(world, midnight(10))
    assert set(rows) == {KEY, EVENT_TIME, *world.catalog.model(MODEL).inputs, LABEL}
    assert rows[EVENT_TIME].is_monotonic_increasing
    assert rows[EVENT_TIME].max() <= midnight(9)


def test_rows_in_a_file_are_the_rows_in_memory(world: Project, tmp_path: Path) -> None:
    model, pins = world.catalog.model(MODEL), pin_versions(world.catalog.model(MODEL), world.store)
    datasets, file = datasets_of(model, world.catalog), tmp_path / "rows.parquet"
    known = {"as_of": midnight(20), "since": midnight(4)}
    assert write_rows(model, datasets, pins, world.store, file, **known) == 15 * 60
    expected = read_rows(model, datasets, pins, world.store, **known)
    pd.testing.assert_frame_equal(pd.read_parquet(file), expected, check_dtype=False)


def test_history_begins_where_it_is_asked_to(world: Project) -> None:
    rows = _read(world, midnight(10), since=midnight(5))
    assert rows[EVENT_TIME].min() >= midnight(5)
    assert len(rows) == (_read(world, midnight(10))[EVENT_TIME] >= midnight(5)).sum()


def test_pinned_versions_read_as_they_were_whatever_is_published_later(world: Project) -> None:
    pins = pin_versions(world.catalog.model(MODEL), world.store)
    before = _read(world, midnight(10), pins=pins)
    tiny.put(world, "trips", "2024-01-03", tiny.trips(3).assign(distance=1.0, delay=0.0))
    tiny.put(world, "sky", "2024-01-03", tiny.sky(3).assign(rain=99.0))
    pd.testing.assert_frame_equal(_read(world, midnight(10), pins=pins), before)
    assert not _read(world, midnight(10)).equals(before)


def test_what_is_published_for_later_days_changes_nothing_known_before(project: Project) -> None:
    tiny.put_days(project, 1, 4)
    before = _read(project, midnight(4))
    tiny.put_days(project, 5, 6)
    pd.testing.assert_frame_equal(_read(project, midnight(4)), before)


def test_the_watermark_is_the_end_of_the_newest_partition(project: Project) -> None:
    spec = project.catalog.dataset("trips")
    assert watermark(spec, project.store) is None
    tiny.put_days(project, 2, 3)
    assert watermark(spec, project.store) == midnight(4)


def test_a_model_whose_table_is_empty_is_rejected_with_what_to_run(project: Project) -> None:
    with pytest.raises(Rejected, match=r"run trips.ingest first"):
        pin_versions(project.catalog.model(MODEL), project.store)


def test_labels_are_read_in_the_window_in_which_they_matured(world: Project) -> None:
    model, spec = world.catalog.model(MODEL), world.catalog.dataset("trips")
    version = pin_versions(model, world.store)["trips"]
    days = [
        read_labels(
            model, spec, version, world.store, matured_after=midnight(day), matured_by=midnight(day + 1)
        )
        for day in range(3, 8)
    ]
    for day, labels in zip(range(3, 8), days, strict=True):
        assert labels[EVENT_TIME].min() > midnight(day - 1)
        assert labels[EVENT_TIME].max() <= midnight(day)
    assert pd.concat(days)[KEY].is_unique
    known = [count_labels(model, spec, version, world.store, midnight(day)) for day in (3, 8)]
    assert sum(map(len, days)) == known[1] - known[0]


def _made_up(spec: DatasetSpec, seed: int, count: int = 40) -> pd.DataFrame:
    """Rows of any dataset: one event a minute."""
    draw = np.random.default_rng(seed)
    start = datetime.combine(spec.schedule.start, time()).astimezone()
    columns: dict[str, Any] = {}
    for name, column in spec.columns.items():
        columns[name] = {
            "string": [f"{name[0]}{number}" for number in draw.integers(0, 3, count)],
            "timestamp": [pd.Timestamp(start) + pd.Timedelta(minutes=number) for number in range(count)],
            "integer": draw.integers(0, 2000, count),
            "number": draw.uniform(0, 100, count),
            "boolean": draw.integers(0, 2, count).astype(bool),
        }[column.type]
    rows = pd.DataFrame(columns)
    if len(spec.key) == 1:
        rows[spec.key[0]] = [f"key-{number}" for number in range(count)]
    return rows[arrow_schema(spec).names]


def _features_of(model: ModelSpec, catalog: Catalog, store: Store) -> pd.DataFrame:
    datasets = datasets_of(model, catalog)
    as_of = datetime.combine(date(2100, 1, 1), time()).astimezone()
    rows = read_rows(model, datasets, pin_versions(model, store), store, as_of=as_of)
    code = load_feature_code(catalog.features_path(model).read_bytes())
    return compute_features(code, rows, input_types(model, datasets)).set_index(rows[KEY])


@pytest.mark.parametrize("name", Catalog(PROJECT_SPECS).model_names())
def test_what_is_known_only_later_changes_no_feature(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of the project's own models: other values in every column that is known late, same features."""
    monkeypatch.setenv("PERENNIAL_SPECS", str(PROJECT_SPECS))
    catalog = Catalog(PROJECT_SPECS)
    model = catalog.model(name)
    features = []
    for seed in (1, 2):
        for dataset, spec in datasets_of(model, catalog).items():
            rows, other = _made_up(spec, seed=7), _made_up(spec, seed=seed)
            late = [column for column, item in spec.columns.items() if item.known_after]
            assert late or dataset != model.rows
            tiny.put_rows(
                spec, "2013-01", rows.assign(**{column: other[column] for column in late}), store, tmp_path
            )
        features.append(_features_of(model, catalog, store))
    assert len(features[0]) > 0
    pd.testing.assert_frame_equal(features[0], features[1])


def test_every_row_is_in_one_of_the_shares_and_they_are_about_as_large(world: Project) -> None:
    whole = _read(world, midnight(22))
    shares = [_read(world, midnight(22), share=(number, 3)) for number in range(3)]
    together = pd.concat(shares).sort_values([EVENT_TIME, KEY], ignore_index=True)
    pd.testing.assert_frame_equal(together, whole)
    assert min(map(len, shares)) > 0.8 * len(whole) / 3
    pd.testing.assert_frame_equal(shares[1], _read(world, midnight(22), share=(1, 3)))


def test_a_group_is_counted_over_all_shares(world: Project) -> None:
    grouped = {"grouped_by": [("trips", "city")]}
    whole = _read(world, midnight(22), **grouped).set_index(KEY)["_group"]
    share = _read(world, midnight(22), share=(0, 3), **grouped).set_index(KEY)["_group"]
    assert share.to_dict() == whole[share.index].to_dict()
