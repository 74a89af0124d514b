from pathlib import Path

import pytest
from pydantic import ByteSize

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.profile import Profile
from include.lifecycle.spec.reading import read_spec
from include.lifecycle.spec.value import Value
from tests.lifecycle import tiny


def _complaint(tmp_path: Path, kind: type[Value], text: str, name: str = "trips") -> str:
    file = tmp_path / f"{name}.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_spec(file, kind)
    return str(caught.value)


def _changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def test_a_spec_is_named_after_its_file(tmp_path: Path) -> None:
    file = tmp_path / "rides.yaml"
    file.write_text(tiny.TRIPS)
    assert read_spec(file, DatasetSpec).name == "rides"


def test_a_name_inside_the_file_is_refused(tmp_path: Path) -> None:
    assert "name: the file's name is the name" in _complaint(tmp_path, DatasetSpec, f"name: a\n{tiny.TRIPS}")


@pytest.mark.parametrize(
    ("kind", "text", "old", "new", "expected"),
    [
        (
            DatasetSpec,
            tiny.TRIPS,
            "expectations:",
            "expectation:",
            "expectation: unknown key; did you mean 'expectations'?",
        ),
        (
            DatasetSpec,
            tiny.TRIPS,
            "max_share",
            "max_shear",
            "quarantine.max_shear: unknown key; did you mean 'max_share'?",
        ),
        (
            DatasetSpec,
            tiny.TRIPS,
            "known_after",
            "known_aftr",
            "columns.delay.known_aftr: unknown key; did you mean 'known_after'?",
        ),
        (
            DatasetSpec,
            tiny.TRIPS,
            "{type: files, path",
            "{type: files, pth",
            "source.pth: unknown key; did you mean 'path'?",
        ),
        (
            ModelSpec,
            tiny.LATE,
            "patience:",
            "patients:",
            "training.patients: unknown key; did you mean 'patience'?",
        ),
        (
            ModelSpec,
            tiny.LATE,
            "tolerance: 3h",
            "tolerence: 3h",
            "joins.0.tolerence: unknown key; did you mean 'tolerance'?",
        ),
        (
            ModelSpec,
            tiny.LATE,
            "worse_by_at_most",
            "worse_by_atmost",
            "gates.1.worse_by_atmost: unknown key; did you mean 'worse_by_at_most'?",
        ),
        (
            ModelSpec,
            tiny.LATE,
            "budget_period",
            "budget_periods",
            "governor.budget_periods: unknown key; did you mean 'budget_period'?",
        ),
    ],
)
def test_a_typo_names_file_key_path_and_the_nearest_known_key(
    tmp_path: Path, kind: type[Value], text: str, old: str, new: str, expected: str
) -> None:
    complaint = _complaint(tmp_path, kind, _changed(text, old, new))
    assert f"{tmp_path}/trips.yaml: {expected}" in complaint.splitlines()


@pytest.mark.parametrize(
    ("kind", "text", "old", "new", "place", "found", "allowed"),
    [
        (
            DatasetSpec,
            tiny.TRIPS,
            "known_after: 1d",
            "known_after: 1 day",
            "columns.delay.known_after",
            "'1 day'",
            "15m",
        ),
        (
            DatasetSpec,
            tiny.TRIPS,
            "known_after: 1d",
            f"known_after: {'9' * 12}d",
            "columns.delay.known_after",
            "d'",
            "15m",
        ),
        (
            DatasetSpec,
            tiny.TRIPS,
            "partition: day",
            "partition: year",
            "partition",
            "'year'",
            "'hour', 'day', 'week' or 'month'",
        ),
        (
            DatasetSpec,
            tiny.TRIPS,
            "max_share: 0.5",
            "max_share: 5",
            "quarantine.max_share",
            "5",
            "less than or equal to 1",
        ),
        (
            DatasetSpec,
            tiny.TRIPS,
            "distance: number",
            "distance: float",
            "columns.distance.type",
            "'float'",
            "'string', 'integer'",
        ),
        (
            DatasetSpec,
            tiny.TRIPS,
            '.csv"}',
            '.csv", max_size: 3 zettas}',
            "source.max_size",
            "'3 zettas'",
            "byte unit",
        ),
        (
            DatasetSpec,
            tiny.TRIPS,
            "{partition:%Y-%m-%d}",
            "all",
            "source",
            "'trips/all.csv'",
            "{partition:%Y-%m-%d}",
        ),
        (
            DatasetSpec,
            tiny.TRIPS,
            "{partition:%Y-%m-%d}",
            "{partition:%Y-%m-%d}/{hour}",
            "source",
            "{hour}",
            "{partition:%Y-%m-%d}",
        ),
        (
            ModelSpec,
            tiny.LATE,
            "stop: 4d",
            "schedule: hourly",
            "training.schedule",
            "'hourly'",
            "five fields",
        ),
        (
            ModelSpec,
            tiny.LATE,
            "max_trees: 30",
            "max_trees: 0",
            "training.max_trees",
            "0",
            "greater than or equal to 1",
        ),
        (
            ModelSpec,
            tiny.LATE,
            "metric: auc",
            "metric: f1",
            "gates.0.metric",
            "'f1'",
            "'brier', 'log_loss' or 'auc'",
        ),
        (ModelSpec, tiny.LATE, "sample: 200", "sample: few", "monitoring.sample", "'few'", "integer"),
    ],
)
def test_a_bad_value_names_key_path_what_was_found_and_what_is_allowed(
    tmp_path: Path, kind: type[Value], text: str, old: str, new: str, place: str, found: str, allowed: str
) -> None:
    complaint = _complaint(tmp_path, kind, _changed(text, old, new))
    (line,) = [line for line in complaint.splitlines() if f".yaml: {place}: found" in line]
    assert found in line.split("; allowed: ")[0]
    assert allowed in line.split("; allowed: ")[1]


def test_every_mistake_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    text = _changed(tiny.TRIPS, "max_share: 0.5", "max_share: 2").replace("partition: day", "partition: year")
    assert len(_complaint(tmp_path, DatasetSpec, text).splitlines()) == 2


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    text = _changed(tiny.TRIPS, "key: [trip_id]\n", "")
    assert "key: missing; this key is required" in _complaint(tmp_path, DatasetSpec, text)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- one\n- two",
        "just text",
        "start: 2013-02-30",
        "a: \x00",
        "",
        "? [a]\n: b",
        "a: !!python/object:os.x {}",
    ],
)
def test_what_is_no_yaml_of_keys_is_a_spec_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    assert f"{tmp_path}/trips.yaml: " in _complaint(tmp_path, DatasetSpec, text)


def test_bytes_that_are_no_text_are_a_spec_error(tmp_path: Path) -> None:
    file = tmp_path / "trips.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not YAML"):
        read_spec(file, DatasetSpec)


def test_a_missing_file_is_a_spec_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        read_spec(tmp_path / "none.yaml", DatasetSpec)


def test_a_file_name_that_is_no_identifier_is_refused(tmp_path: Path) -> None:
    assert "name: found 'My Trips'" in _complaint(tmp_path, DatasetSpec, tiny.TRIPS, "My Trips")


def test_sizes_are_read_with_their_unit(tmp_path: Path) -> None:
    file = tmp_path / "local.yaml"
    file.write_text("memory: 2GiB")
    assert read_spec(file, Profile).memory == ByteSize(2 << 30)


@pytest.mark.parametrize("memory", ["2 GiBB", "lots", "-1"])
def test_bad_sizes_are_refused_when_read(tmp_path: Path, memory: str) -> None:
    assert "memory: found" in _complaint(tmp_path, Profile, f"memory: {memory}")
