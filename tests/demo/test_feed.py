import gzip
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from include.demo import feed, traffic
from include.lifecycle.data.partition_rows import open_rows
from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.data.point_in_time import KEY, pin_versions, read_rows
from include.lifecycle.data.publishing import published_table
from include.lifecycle.data.sources import open_source
from include.lifecycle.data.staging import stage
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.steps.train import datasets_of
from include.lifecycle.store.connections import environment_connection
from include.lifecycle.store.objects import Store

SPECS = Path(__file__).resolve().parents[2] / "include"
DAY = date(2013, 2, 28)


@pytest.fixture
def landing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERENNIAL_SPECS", str(SPECS))
    monkeypatch.setenv("PERENNIAL_LANDING", str(tmp_path / "landing"))
    return tmp_path / "landing"


def test_every_departure_of_the_year_is_delivered_once() -> None:
    days = feed.flights()
    assert sum(len(rows) for rows in days.values()) == 336_776
    assert pd.concat(days.values())["flight_id"].is_unique


def test_the_same_day_delivered_twice_is_the_same_file(landing: Path) -> None:
    feed.deliver_flights(Store(str(landing)), DAY)
    first = (landing / "flights/2013-02-28.csv.gz").read_bytes()
    feed.deliver_flights(Store(str(landing)), DAY)
    assert (landing / "flights/2013-02-28.csv.gz").read_bytes() == first
    assert gzip.decompress(first).startswith(b"flight_id,time_hour,carrier")
    assert [file.name for file in (landing / "flights").iterdir()] == ["2013-02-28.csv.gz"]


def test_the_months_weather_holds_only_the_hours_known_at_the_end_of_the_day(landing: Path) -> None:
    feed.deliver_weather(Store(str(landing)), date(2013, 2, 10))
    rows = pd.read_csv(landing / "weather/2013-02.csv")
    assert rows["time_hour"].str[:10].max() == "2013-02-10"
    assert rows["time_hour"].str[:10].min() == "2013-02-01"


def test_a_span_of_days_leaves_a_file_for_each_partition(landing: Path) -> None:
    feed.deliver(Store(str(landing)), date(2013, 1, 30), date(2013, 2, 2))
    files = sorted(str(file.relative_to(landing)) for file in landing.rglob("*.*"))
    days = ("2013-01-30", "2013-01-31", "2013-02-01", "2013-02-02")
    assert files == [*(f"flights/{day}.csv.gz" for day in days), "weather/2013-01.csv", "weather/2013-02.csv"]


def test_delivered_files_fit_their_specs(landing: Path, tmp_path: Path) -> None:
    feed.deliver(Store(str(landing)), DAY, DAY)
    for name in ("flights", "weather"):
        spec = Catalog(SPECS).dataset(name)
        partition = calendar_of(spec).named("2013-02-28" if name == "flights" else "2013-02")
        source = open_source(spec, partition, environment_connection)
        count = stage(spec, source.batches(), tmp_path / "staged.parquet").rows
        with open_rows(spec, tmp_path / "staged.parquet", tmp_path) as rows:
            parted = rows.part([], tmp_path / "good.parquet", tmp_path / "bad.parquet", "run")
        assert (parted.good, parted.quarantined, parted.repeated) == (count, {}, 0)


def test_users_ask_with_nothing_that_is_known_only_later() -> None:
    rows = traffic.requests_of(DAY)
    known_late = {
        name for name, column in Catalog(SPECS).dataset("flights").columns.items() if column.known_after
    }
    assert known_late
    assert not known_late & set(rows)
    assert set(Catalog(SPECS).model("flight_delay").inputs) <= set(rows)


def test_users_ask_with_the_very_values_that_the_training_will_read(landing: Path, tmp_path: Path) -> None:
    """No skew between serving and training: the same day's inputs, joined by two programs."""
    catalog, store = Catalog(SPECS), Store(str(tmp_path / "store"))
    model = catalog.model("flight_delay")
    feed.deliver(Store(str(landing)), DAY, DAY)
    for name, partition in (("flights", "2013-02-28"), ("weather", "2013-02")):
        spec = catalog.dataset(name)
        source = open_source(spec, calendar_of(spec).named(partition), environment_connection)
        stage(spec, source.batches(), tmp_path / "staged.parquet")
        with open_rows(spec, tmp_path / "staged.parquet", tmp_path) as rows:
            rows.part([], tmp_path / "good.parquet", tmp_path / "bad.parquet", "run")
        published_table(name, store).publish(partition, "sha", tmp_path / "good.parquet", "run")
    datasets = datasets_of(model, catalog)
    as_of = pd.Timestamp("2013-03-03", tz="UTC").to_pydatetime()
    trained = read_rows(model, datasets, pin_versions(model, store), store, as_of=as_of).set_index(KEY)
    asked = traffic.requests_of(DAY).set_index("flight_id").loc[trained.index]
    asked["time_hour"] = pd.to_datetime(asked["time_hour"], utc=True)
    inputs = list(model.inputs)
    assert len(trained) > 500
    pd.testing.assert_frame_equal(
        asked[inputs], trained[inputs], check_dtype=False, check_index_type=False, check_names=False
    )
