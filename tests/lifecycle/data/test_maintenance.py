from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.lifecycle.data.maintenance import maintain
from include.lifecycle.errors import Transient
from include.lifecycle.store.lake import PARTITION, Replacement, Table
from include.lifecycle.store.objects import Store
from tests.lifecycle.ageing import age

AT_ONCE = timedelta(0)
NOW = datetime(2024, 6, 1, tzinfo=UTC)


def _log(store: Store, commits: int) -> Table:
    """A table of many small files in one partition."""
    table = Table(store, "log")
    for number in range(commits):
        table.append_once(pa.table({"n": [number], PARTITION: ["a"]}), "writer", number + 1)
    return table


def _numbers(table: Table, version: int | None = None) -> list[int]:
    dataset = table.dataset(version)
    assert dataset is not None
    return sorted(dataset.to_table().column("n").to_pylist())


def _files(store: Store, table: Table) -> set[str]:
    return {path for path in store.list(table.path) if "_delta_log" not in path}


def test_a_pinned_version_outlives_the_joining_of_its_files(store: Store) -> None:
    table = _log(store, 12)
    report = maintain(table, pins=[5], retention=AT_ONCE)
    assert (report.files_before, report.files_after) == (12, 1)
    assert (report.deleted_files, report.kept_versions) == (7, (5,))
    assert _numbers(table) == list(range(12))
    assert _numbers(table, 5) == list(range(5))
    with pytest.raises(FileNotFoundError):
        _numbers(table, 7)


def test_the_report_says_how_many_bytes_are_free(store: Store) -> None:
    table = _log(store, 12)
    sizes = {path: len(store.get(path) or b"") for path in _files(store, table)}
    report = maintain(table, retention=AT_ONCE)
    left = _files(store, table)
    assert report.freed_bytes == sum(size for path, size in sizes.items() if path not in left)
    assert report.deleted_files == len(sizes)


def test_a_few_files_are_not_worth_a_commit(store: Store) -> None:
    table = _log(store, 7)
    before = table.version()
    maintain(table)
    assert table.version() == before


def test_a_file_that_waits_for_its_commit_is_left_alone(store: Store, tmp_path: Path) -> None:
    """Another run has copied its file and not committed: seven days are more than that takes."""
    table = Table(store, "t")
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"n": [1]}), file)
    for content in ("one", "two"):
        table.publish("a", content, file, "run")
    age(table, store, timedelta(days=40))
    table._copy_in(Replacement("waiting", file), "b")
    waiting = _files(store, table)
    report = maintain(table)
    assert report.deleted_files == 1
    assert len(_files(store, table)) == len(waiting) - 1
    version = table.version()
    assert maintain(table).deleted_files == 0
    assert table.version() == version
    age(table, store, timedelta(days=8))
    assert maintain(table).deleted_files == 1
    assert _numbers(table) == [1]


def test_without_its_log_a_pinned_version_stops_the_upkeep_before_anything_is_deleted(store: Store) -> None:
    table = _log(store, 12)
    store.remove(f"{table.path}/_delta_log/{3:020}.json")
    files = _files(store, table)
    with pytest.raises(Transient, match="table log"):
        maintain(table, pins=[5], retention=AT_ONCE)
    assert files <= _files(store, table)


@given(
    contents=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), min_size=1, max_size=10),
    chosen=st.sets(st.integers(1, 10), max_size=4),
)
@settings(max_examples=25)
def test_pinned_versions_and_the_newest_read_as_before_and_nothing_else_is_left(
    contents: list[tuple[str, int]], chosen: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pins")
    store = Store(str(folder / "store"))
    table = Table(store, "t")
    for partition, number in contents:
        file = folder / "rows.parquet"
        pq.write_table(pa.table({"n": [number]}), file)
        table.publish(partition, str(number), file, "run")
    newest = table.version()
    assert newest is not None
    pins = {version for version in chosen if version <= newest}
    before = {version: _numbers(table, version) for version in {*pins, newest}}
    maintain(table, chosen, AT_ONCE)
    assert {version: _numbers(table, version) for version in before} == before
    needed = set()
    for version in before:
        with table.opened(version) as delta:
            assert delta is not None
            needed |= {f"{table.path}/{path}" for path in delta.file_uris()}
    assert len(_files(store, table)) == len(needed)
