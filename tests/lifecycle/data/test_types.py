from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.lifecycle.data.partition_rows import open_rows
from include.lifecycle.data.types import arrow_schema
from tests.lifecycle.tiny import Project

FINE = {
    "trip_id": "1",
    "at": "2024-01-01 10:00:00+02:00",
    "city": "BER",
    "distance": "1.5",
    "stops": "2",
    "express": "true",
    "delay": None,
}


def _typed(project: Project, folder: Path, **changes: str | None) -> tuple[pd.DataFrame, list[str]]:
    """The typed row, and the rules that quarantine names."""
    cells = {name: pa.array([text], pa.string()) for name, text in {**FINE, **changes}.items()}
    pq.write_table(pa.table(cells), folder / "staged.parquet")
    with open_rows(project.catalog.dataset("trips"), folder / "staged.parquet", folder) as rows:
        rows.part([], folder / "good.parquet", folder / "bad.parquet", "run")
        return rows.frame(), pq.read_table(folder / "bad.parquet")["rule"].to_pylist()


def test_text_gets_its_types(project: Project, tmp_path: Path) -> None:
    rows, broken = _typed(project, tmp_path)
    assert broken == []
    assert rows.iloc[0].to_dict() | {"delay": None} == {
        "trip_id": "1",
        "at": pd.Timestamp("2024-01-01 08:00", tz="UTC"),
        "city": "BER",
        "distance": 1.5,
        "stops": 2,
        "express": True,
        "delay": None,
    }


WORDS = (
    st.text(max_size=6)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.datetimes().map(str)
    | st.sampled_from(["", "NaN", "-inf", "epoch", "9007199254740993", "1e3", "0x10", "yes", "T", "24:00"])
)


@given(column=st.sampled_from(["distance", "stops", "express", "at"]), word=WORDS)
@settings(max_examples=150)
def test_no_text_is_lost_to_its_type_without_a_word(project: Project, column: str, word: str) -> None:
    """What is cast and what is called faulty are two expressions, which must agree."""
    rows, broken = _typed(project, project.root, **{column: word})
    means_nothing = column == "distance" and word.strip().lower().lstrip("+-") == "nan"
    assert bool(broken) == (bool(rows[column].isna().iloc[0]) and not means_nothing)


@pytest.mark.parametrize(
    ("column", "text", "kind"),
    [
        ("distance", "far", "number"),
        ("stops", "many", "integer"),
        ("stops", "1.5", "integer"),
        ("stops", "1e30", "integer"),
        ("express", "perhaps", "boolean"),
        ("at", "soon", "timestamp"),
        ("at", "infinity", "timestamp"),
        ("distance", "inf", "number"),
        ("distance", "-1e999", "number"),
        ("delay", "1,5", "number"),
    ],
)
def test_text_that_has_no_such_type_is_named(
    project: Project, tmp_path: Path, column: str, text: str, kind: str
) -> None:
    rows, broken = _typed(project, tmp_path, **{column: text})
    assert broken == [f"type {kind}: {column}"]
    assert rows[column].isna().all()


@pytest.mark.parametrize(("text", "value"), [("2.0", 2), ("9007199254740993", 9007199254740993), ("-3", -3)])
def test_whole_numbers_are_integers_however_written(
    project: Project, tmp_path: Path, text: str, value: int
) -> None:
    rows, broken = _typed(project, tmp_path, stops=text)
    assert broken == []
    assert rows["stops"].tolist() == [value]


def test_a_missing_value_breaks_no_type(project: Project, tmp_path: Path) -> None:
    optional = ("city", "distance", "stops", "express", "delay")
    rows, broken = _typed(project, tmp_path, **dict.fromkeys(optional))
    assert broken == []
    assert rows[list(optional)].isna().all(axis=None)


def test_nan_is_a_missing_number(project: Project, tmp_path: Path) -> None:
    rows, broken = _typed(project, tmp_path, distance="NaN")
    assert broken == []
    assert pq.read_table(tmp_path / "good.parquet")["distance"].null_count == 1
    assert rows["distance"].isna().all()


@pytest.mark.parametrize("column", ["trip_id", "at"])
def test_a_row_without_key_or_event_time_is_named(project: Project, tmp_path: Path, column: str) -> None:
    _, broken = _typed(project, tmp_path, **{column: None})
    assert broken == [f"missing: {column}"]


def test_a_timestamp_without_an_offset_means_the_datasets_time_zone(project: Project, tmp_path: Path) -> None:
    project.edit("datasets/trips.yaml", "partition: day", "partition: day\ntimezone: Europe/Berlin")
    for text, moment in {
        "2024-01-15 10:00": "2024-01-15 09:00",
        "2024-07-15 10:00": "2024-07-15 08:00",
        "2024-07-15T10:00:00Z": "2024-07-15 10:00",
    }.items():
        rows, _ = _typed(project, tmp_path, at=text)
        assert rows["at"].tolist() == [pd.Timestamp(moment, tz="UTC")]


def test_the_published_columns_have_the_specs_types(project: Project) -> None:
    schema = arrow_schema(project.catalog.dataset("trips"))
    assert [str(kind) for kind in schema.types] == [
        "string",
        "timestamp[us, tz=UTC]",
        "string",
        "double",
        "int64",
        "bool",
        "double",
    ]
