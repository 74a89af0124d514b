from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.lifecycle.data.publishing import published_table
from include.lifecycle.errors import Rejected, SpecError
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps import publish, validate
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.objects import Output
from include.lifecycle.store.receipts import Receipt
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project

BAND = {"measure": "rows", "of_last": 4, "at_least": 3, "within": 0.2}


def _spec(project: Project, **changes: Any) -> DatasetSpec:
    spec = project.catalog.dataset("trips").model_dump(mode="json")
    return DatasetSpec.model_validate({**spec, **changes})


def _stage(project: Project, rows: pd.DataFrame) -> Output:
    file = project.root / "staged.parquet"
    texts = [
        {name: None if pd.isna(cell) else str(cell) for name, cell in row.items()}
        for row in rows.to_dict("records")
    ]
    pq.write_table(pa.Table.from_pylist(texts, pa.schema([(name, pa.string()) for name in rows])), file)
    return project.store.keep_file(file)


def _validate(
    project: Project, spec: DatasetSpec, rows: pd.DataFrame, day: int = 5, suppressed: int = 0
) -> Receipt:
    staged = _stage(project, rows)
    call = validate.plan(spec, f"{tiny.midnight(day):%Y-%m-%d}", staged, suppressed, project.store)
    return run_step(call, project.store)[0]


def _publish(project: Project, day: int, count: int) -> None:
    tiny.put(project, "trips", f"{tiny.midnight(day):%Y-%m-%d}", tiny.trips(day, count=count))


def test_every_row_in_is_good_quarantined_repeated_or_suppressed(project: Project) -> None:
    rows = tiny.trips(5, count=10)
    rows.loc[0, "city"] = "XXX"
    rows = pd.concat([rows, rows.iloc[3:5]])
    found = _validate(project, _spec(project), rows, suppressed=4)
    assert found.counts == {"rows_in": 16, "good": 9, "quarantined": 1, "repeated": 2, "suppressed": 4}
    assert found.results == {"stop": None, "warnings": [], "engines": {}, "broken": ANY, "content": ANY}
    assert found.call.as_of == tiny.midnight(5)


def test_the_same_staged_rows_are_validated_once(project: Project) -> None:
    staged, spec = _stage(project, tiny.trips(5, count=10)), _spec(project)
    call = validate.plan(spec, "2024-01-05", staged, 0, project.store)
    run_step(call, project.store)
    assert run_step(validate.plan(spec, "2024-01-05", staged, 0, project.store), project.store)[1]


def test_a_partition_without_good_rows_is_published_empty(project: Project) -> None:
    spec = _spec(project, quarantine={"max_share": 1})
    found = _validate(project, spec, tiny.trips(5, count=10).assign(city="XXX"))
    assert (found.counts["good"], found.counts["quarantined"]) == (0, 10)
    assert found.results["stop"] is None
    counts = run_step(publish.plan(found, None, project.store), project.store)[0].counts
    assert (counts["published"], counts["quarantined"]) == (0, 10)


@pytest.mark.parametrize(("count", "stopped"), [(81, False), (79, True), (119, False), (121, True)])
def test_a_volume_far_from_that_of_the_partitions_before_stops(
    project: Project, count: int, stopped: bool
) -> None:
    for day, before in enumerate((90, 100, 100, 110), start=1):
        _publish(project, day, before)
    found = _validate(project, _spec(project, bands=[BAND]), tiny.trips(5, count=count))
    assert (found.results["stop"] is not None) == stopped
    if stopped:
        said = f"band rows ({count}, median of 4 partitions before 100, within 20%)"
        assert said in found.results["stop"]


def test_a_band_with_too_few_partitions_before_is_not_judged_and_says_so(project: Project) -> None:
    _publish(project, 3, 100)
    _publish(project, 4, 100)
    found = _validate(project, _spec(project, bands=[BAND]), tiny.trips(5, count=5))
    assert found.results["stop"] is None
    assert "band rows is not judged: 2 of the 4 partitions before" in found.results["warnings"][0]


def test_a_backfilled_day_is_judged_by_the_days_before_it(project: Project) -> None:
    for day in (1, 2, 3):
        _publish(project, day, 50)
    for day in (6, 7, 8, 9):
        _publish(project, day, 500)
    spec = _spec(project, bands=[BAND])
    assert _validate(project, spec, tiny.trips(5, count=50), day=5).results["stop"] is None
    assert "median of 4 partitions before 500" in str(
        _validate(project, spec, tiny.trips(10, count=50), day=10).results["stop"]
    )


def test_a_later_partition_does_not_change_the_call_of_an_earlier_one(project: Project) -> None:
    spec, staged = _spec(project, bands=[BAND]), _stage(project, tiny.trips(5, count=5))
    _publish(project, 4, 100)
    before = validate.plan(spec, "2024-01-05", staged, 0, project.store)
    _publish(project, 5, 100)
    assert validate.plan(spec, "2024-01-05", staged, 0, project.store).run_key == before.run_key
    _publish(project, 3, 100)
    assert validate.plan(spec, "2024-01-05", staged, 0, project.store).run_key != before.run_key


def test_null_share_and_distinct_values_lie_in_their_bands(project: Project) -> None:
    for day in (1, 2, 3):
        _publish(project, day, 60)
    bands = [
        {"measure": "null_share", "column": "delay", "within": 0.1, "severity": "warn"},
        {"measure": "distinct", "column": "city", "within": 0.5},
    ]
    rows = tiny.trips(5, count=60).assign(city="BER")
    rows.loc[:11, "delay"] = None
    found = _validate(project, _spec(project, bands=bands), rows)
    assert found.results["warnings"] == [
        "band null_share: delay (20.0%, median of 3 partitions before 0.0%, within 10.0%)"
    ]
    assert "band distinct: city (1, median of 3 partitions before 3, within 50%)" in found.results["stop"]


@pytest.mark.parametrize(
    ("severity", "quarantined", "stop", "warnings"),
    [
        ("quarantine", 2, None, []),
        ("warn", 0, None, ["reference: city in sky (2 of 10 rows)"]),
        ("stop", 0, "the partition breaks reference: city in sky (2 of 10 rows)", []),
    ],
)
def test_what_another_dataset_does_not_have_is_unexpected(
    project: Project, severity: str, quarantined: int, stop: str | None, warnings: list[str]
) -> None:
    tiny.put(project, "sky", "2024-01-05", tiny.sky(5))
    reference = {"columns": {"city": "city"}, "dataset": "sky", "severity": severity}
    spec = _spec(project, references=[reference], expectations=[])
    rows = tiny.trips(5, count=10)
    rows["city"] = ["BER"] * 7 + ["XXX", "YYY", None]
    found = _validate(project, spec, rows)
    assert found.counts["quarantined"] == quarantined
    assert (found.results["stop"], found.results["warnings"]) == (stop, warnings)


def test_a_reference_to_an_empty_dataset_is_rejected(project: Project, tmp_path: Path) -> None:
    spec = _spec(project, references=[{"columns": {"city": "city"}, "dataset": "sky"}])
    with pytest.raises(Rejected, match=r"dataset sky has no published partition; run sky\.ingest first"):
        _validate(project, spec, tiny.trips(5, count=1))


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("{columns: {city: city}, dataset: ski}", "did you mean 'sky'"),
        (
            "{columns: {distance: city}, dataset: sky}",
            "columns: 'distance' is a number, 'city' of sky a string; give both the same type",
        ),
        ("{columns: {city: citty}, dataset: sky}", "unknown column 'citty'; did you mean 'city'"),
    ],
)
def test_a_reference_to_what_is_not_there_is_refused_in_the_spec(
    project: Project, reference: str, said: str
) -> None:
    project.edit("datasets/trips.yaml", "key: [trip_id]", f"key: [trip_id]\nreferences: [{reference}]")
    with pytest.raises(SpecError, match=said):
        project.catalog.dataset("trips")


@pytest.mark.parametrize(("here", "there"), [("city", "rain"), ("distance", "city"), ("at", "city")])
def test_a_reference_to_a_table_of_before_a_type_was_mended_is_judged(
    project: Project, here: str, there: str
) -> None:
    tiny.put(project, "sky", "2024-01-05", tiny.sky(5))
    spec = _spec(project, references=[{"columns": {here: there}, "dataset": "sky"}], expectations=[])
    found = _validate(project, spec, tiny.trips(5, count=10))
    assert found.counts["quarantined"] == 10


def test_whole_numbers_are_found_among_numbers(project: Project) -> None:
    tiny.put(project, "sky", "2024-01-05", tiny.sky(5).assign(rain=[1.0, 2.5] * 36))
    spec = _spec(project, references=[{"columns": {"stops": "rain"}, "dataset": "sky"}], expectations=[])
    rows = tiny.trips(5, count=3).assign(stops=[1, 2, 3])
    assert _validate(project, spec, rows).counts["quarantined"] == 2


def test_a_band_opens_the_files_of_its_partitions_alone(project: Project) -> None:
    for day in range(1, 8):
        _publish(project, day, 50)
    table = published_table("trips", project.store)
    for file in table.files():
        if not file.startswith(("_partition=2024-01-05", "_partition=2024-01-06", "_partition=2024-01-07")):
            project.store.remove(f"{table.path}/{file}")
    band = {**BAND, "of_last": 3}
    assert _validate(project, _spec(project, bands=[band]), tiny.trips(8, count=50), day=8).results == {
        "stop": None,
        "warnings": [],
        "engines": {},
        "broken": {},
        "content": ANY,
    }
