from pathlib import Path

import pytest

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.reading import read_spec
from tests.lifecycle import tiny


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("key: [trip_id]", "key: [trip]", "key: unknown column 'trip'; did you mean 'trip_id'?"),
        ("event_time: at", "event_time: time", "event_time: unknown column 'time'"),
        ("event_time: at", "event_time: delay", "event_time: column 'delay' must be of type timestamp"),
        (
            "at: timestamp",
            "at: {type: timestamp, known_after: 1d}",
            "event_time: column 'at' must be known at once; remove its known_after",
        ),
        (
            "{column: distance,",
            "{column: distanse,",
            "expectations.2.expect_column_values_to_be_between.column: unknown column 'distanse'; "
            "did you mean 'distance'?",
        ),
        (
            "- expect_column_values_to_not_be_null: {column: at}",
            "- {}",
            "expectations.0: found {}; allowed: one expectation per item",
        ),
    ],
)
def test_columns_that_do_not_exist_are_refused_with_the_nearest(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in tiny.TRIPS
    file = tmp_path / "trips.yaml"
    file.write_text(tiny.TRIPS.replace(old, new))
    with pytest.raises(SpecError) as caught:
        read_spec(file, DatasetSpec)
    assert f"{file}: {expected}" in str(caught.value)


def test_a_column_may_be_written_as_its_type_alone(tmp_path: Path) -> None:
    file = tmp_path / "trips.yaml"
    file.write_text(tiny.TRIPS)
    spec = read_spec(file, DatasetSpec)
    assert spec.columns["city"].type == "string"
    assert not spec.columns["city"].known_after


def test_a_spec_survives_the_way_through_a_call(tmp_path: Path) -> None:
    file = tmp_path / "trips.yaml"
    file.write_text(tiny.TRIPS)
    spec = read_spec(file, DatasetSpec)
    assert DatasetSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("key: [trip_id]", "key: [trip_id]\nprivacy: {subject: city}", "privacy.key: missing; who is erased"),
        (
            "city: string",
            "city: {type: string, privacy: {generalise: {prefix: 2}}}",
            "privacy.subject: 'city' is generalised",
        ),
        (
            "trip_id: string",
            "trip_id: {type: string, privacy: {generalise: {prefix: 2}}}",
            "columns.trip_id.privacy: a key that is generalised",
        ),
        (
            "city: string",
            "city: {type: string, privacy: {generalise: {period: year}}}",
            "columns.city.privacy: period is for a column of type timestamp, not string",
        ),
        (
            "city: string",
            "city: {type: string, privacy: {generalise: {width: 10}}}",
            "columns.city.privacy: width is for a column of type number or integer, not string",
        ),
        (
            "stops: integer",
            "stops: {type: integer, privacy: {generalise: {prefix: 1}}}",
            "columns.stops.privacy: prefix is for a column of type string, not integer",
        ),
    ],
)
def test_a_policy_that_cannot_work_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = tiny.TRIPS.replace(old, new)
    if "privacy: {subject" not in new:
        text += "privacy: {key: people, subject: city}\n"
    file = tmp_path / "trips.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_spec(file, DatasetSpec)
    assert f"{file}: {expected}" in str(caught.value)
