import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.lifecycle.data.partition_rows import Broken, Parted, open_rows
from tests.lifecycle.tiny import Project

ROW = {"city": "BER", "distance": "10", "stops": "1", "express": "true", "delay": "3"}
EARLY, LATE = "2024-01-01 01:00:00Z", "2024-01-01 02:00:00Z"


def _part(project: Project, rows: list[dict[str, str | None]], *broken: Broken, **extra: str) -> Parted:
    names = ("trip_id", "at", *ROW, *extra)
    cells = [{**ROW, **extra, **row} for row in rows]
    staged = project.root / "staged.parquet"
    pq.write_table(pa.Table.from_pylist(cells, pa.schema([(name, pa.string()) for name in names])), staged)
    with open_rows(project.catalog.dataset("trips"), staged, project.root) as opened:
        return opened.part(broken, _good(project), project.root / "bad.parquet", "run")


def _fates(parted: Parted) -> tuple[int, int, int]:
    return parted.good, sum(parted.quarantined.values()), parted.repeated


def _good(project: Project) -> Path:
    return project.root / "good.parquet"


def test_of_one_key_the_row_with_the_newest_event_time_stays(project: Project) -> None:
    rows = [{"trip_id": "b", "at": EARLY}, {"trip_id": "a", "at": EARLY}, {"trip_id": "b", "at": LATE}]
    assert _fates(_part(project, [*rows, rows[0]])) == (2, 0, 2)
    good = pq.read_table(_good(project), columns=["trip_id", "at"]).to_pylist()
    assert sorted((row["trip_id"], row["at"].hour) for row in good) == [("a", 1), ("b", 2)]


def test_bad_rows_are_kept_as_their_source_wrote_them(project: Project) -> None:
    rows = [{"trip_id": "a", "at": EARLY, "stops": "many"}, {"trip_id": "b", "at": EARLY, "city": "Ü'\"\n"}]
    parted = _part(project, rows, Broken("no umlauts", "city <> 'BER'"), Broken("later", "true"))
    assert parted.quarantined == {"no umlauts": 1, "type integer: stops": 1}
    bad = pq.read_table(project.root / "bad.parquet").to_pylist()
    assert [(row["rule"], row["run_key"]) for row in bad] == [
        ("type integer: stops", "run"),
        ("no umlauts", "run"),
    ]
    assert json.loads(bad[0]["row"])["stops"] == "many"
    assert json.loads(bad[1]["row"]) == {**ROW, **rows[1]}


def test_a_column_that_the_source_has_besides_stays_text(project: Project) -> None:
    _part(project, [{"trip_id": "a", "at": EARLY}], Extra="007")
    assert pq.read_table(_good(project))["Extra"].to_pylist() == ["007"]


def test_no_column_is_declared_as_never_missing(project: Project) -> None:
    _part(project, [{"trip_id": "a", "at": EARLY}])
    assert all(field.nullable for field in pq.read_schema(_good(project)))


@given(
    drawn=st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([EARLY, LATE]), st.sampled_from("123")), max_size=30
    ),
    data=st.data(),
)
@settings(max_examples=30)
def test_equal_rows_are_equal_content_in_any_order(
    project: Project, drawn: list[tuple[int, str, str]], data: st.DataObject
) -> None:
    rows: list[dict[str, str | None]] = [
        {"trip_id": f"t{key}", "at": at, "stops": stops} for key, at, stops in drawn
    ]
    one = _part(project, rows)
    assert _part(project, data.draw(st.permutations(rows))) == one
    assert one.good == len({key for key, _, _ in drawn})


@given(
    value=st.sampled_from(["1", "2", None]),
    column=st.sampled_from(["city", "distance", "stops", "express", "trip_id", "at"]),
)
def test_another_value_anywhere_is_another_content(project: Project, value: str | None, column: str) -> None:
    rows: list[dict[str, str | None]] = [{"trip_id": "a", "at": EARLY}, {"trip_id": "b", "at": EARLY}]
    value = {"at": LATE, "express": "false", "trip_id": "c"}.get(column, value)
    other = {**rows[1], column: value}
    same = {**ROW, **other} == {**ROW, **rows[1]}
    assert (_part(project, [rows[0], other]).content == _part(project, rows).content) == same


def test_a_new_column_is_another_content_even_where_it_is_empty(project: Project) -> None:
    rows: list[dict[str, str | None]] = [{"trip_id": "a", "at": EARLY}]
    plain = _part(project, rows)
    assert _part(project, [{**rows[0], "extra": None}], extra="").content != plain.content


def test_values_that_change_places_are_another_content(project: Project) -> None:
    rows: list[dict[str, str | None]] = [
        {"trip_id": "a", "at": EARLY, "stops": "1"},
        {"trip_id": "b", "at": EARLY, "stops": "2"},
    ]
    swapped = [{**rows[0], "stops": "2"}, {**rows[1], "stops": "1"}]
    assert _part(project, rows).content != _part(project, swapped).content


@pytest.mark.parametrize("threads", [1, 4])
def test_many_rows_are_equal_content_in_any_number_of_threads(project: Project, threads: int) -> None:
    rows: list[dict[str, str | None]] = [
        {"trip_id": f"{place * 7919 % 300_000:06}", "at": EARLY} for place in range(300_000)
    ]
    before = _part(project, rows)
    assert _fates(before) == (300_000, 0, 0)
    (project.specs / "profiles/fast.yaml").write_text(f"threads: {threads}\nmemory: 200MiB\n")
    with pytest.MonkeyPatch.context() as env:
        env.setenv("PERENNIAL_PROFILE", "fast")
        assert _part(project, rows[::-1]) == before


WORDS = ("rule", "row", "run_key", "s", "b", "bad_rows", "staged_rows", "typed_rows", "found", "file")


def test_a_column_may_bear_any_name_that_sql_uses_here(project: Project) -> None:
    rows: list[dict[str, str | None]] = [{"trip_id": "a", "at": EARLY}, {"trip_id": "b", "at": EARLY}]
    extra = {word: f"the {word}" for word in WORDS}
    parted = _part(project, rows, Broken("no b", "trip_id = 'b'"), **extra)
    assert _fates(parted) == (1, 1, 0)
    (bad,) = pq.read_table(project.root / "bad.parquet").to_pylist()
    assert (bad["rule"], bad["run_key"]) == ("no b", "run")
    assert json.loads(bad["row"]) == {**ROW, **extra, **rows[1]}
