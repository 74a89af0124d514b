from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pyarrow as pa
import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.store.lake import PARTITION, Table
from include.lifecycle.store.objects import Store


def _reader(*numbers: int) -> pa.RecordBatchReader:
    return pa.table({"number": pa.array(numbers, pa.int64())}).to_reader()


def _publish(table: Table, partition: str, *numbers: int) -> tuple[int, bool]:
    return table.publish(partition, f"sha-of-{numbers}", _reader(*numbers), "run")


def _numbers(table: Table, version: int | None = None) -> dict[str, list[int]]:
    dataset = table.dataset(version)
    assert dataset is not None
    found: dict[str, list[int]] = {}
    for row in dataset.to_table().to_pylist():
        found.setdefault(row[PARTITION], []).append(row["number"])
    return {partition: sorted(numbers) for partition, numbers in found.items()}


def _retrying(publish: Callable[[], object]) -> object:
    again = Retrying(
        retry=retry_if_exception_type(Transient), stop=stop_after_attempt(10), wait=wait_random(max=0.1)
    )
    return again(publish)


def test_before_the_first_publication_there_is_nothing(store: Store) -> None:
    table = Table(store, "none")
    assert table.version() is None
    assert table.partitions() == {}
    assert table.dataset() is None
    assert table.appended_by("me") == 0


def test_the_same_content_again_makes_no_commit(store: Store) -> None:
    table = Table(store, "t")
    version, changed = _publish(table, "2024-01-01", 1, 2)
    assert changed
    assert _publish(table, "2024-01-01", 1, 2) == (version, False)
    assert table.version() == version


def test_publishing_replaces_one_partition_and_no_other(store: Store) -> None:
    table = Table(store, "t")
    _publish(table, "2024-01-01", 1, 2)
    _publish(table, "2024-01-02", 3)
    _publish(table, "2024-01-01", 4)
    assert _numbers(table) == {"2024-01-01": [4], "2024-01-02": [3]}
    assert table.partitions() == {"2024-01-01": "sha-of-(4,)", "2024-01-02": "sha-of-(3,)"}


def test_a_pinned_version_still_reads_after_later_publications(store: Store) -> None:
    table = Table(store, "t")
    pinned, _ = _publish(table, "2024-01-01", 1, 2)
    for number in range(10, 15):
        _publish(table, "2024-01-01", number)
    assert _numbers(table, pinned) == {"2024-01-01": [1, 2]}
    assert table.partitions(pinned) == {"2024-01-01": "sha-of-(1, 2)"}
    assert _numbers(table) == {"2024-01-01": [14]}


def test_old_versions_are_kept_for_ever(store: Store) -> None:
    table = Table(store, "t")
    _publish(table, "2024-01-01", 1)
    metadata = table._open()
    assert metadata is not None
    assert metadata.metadata().configuration["delta.enableExpiredLogCleanup"] == "false"


def test_a_commit_carries_the_run_key(store: Store) -> None:
    table = Table(store, "t")
    table.publish("2024-01-01", "sha", _reader(1), "the-run-key")
    opened = table._open()
    assert opened is not None
    assert opened.history(1)[0]["run_key"] == "the-run-key"


def test_two_partitions_published_at_once_both_survive(store: Store) -> None:
    gate = Barrier(4)
    table = Table(store, "t")
    _publish(table, "2024-01-09", 9)

    def publish(day: int) -> object:
        gate.wait()
        return _retrying(lambda: _publish(Table(store, "t"), f"2024-01-0{day}", day))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, range(1, 5)))
    assert _numbers(table) == {f"2024-01-0{day}": [day] for day in (1, 2, 3, 4, 9)}


def test_one_partition_published_at_once_by_many_holds_the_rows_of_one(store: Store) -> None:
    gate = Barrier(4)

    def publish(number: int) -> object:
        gate.wait()
        return _retrying(lambda: _publish(Table(store, "t"), "2024-01-01", number, number + 100))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, range(1, 5)))
    (numbers,) = _numbers(Table(store, "t")).values()
    assert numbers[1] == numbers[0] + 100
    assert len(numbers) == 2


def test_other_columns_than_the_tables_are_rejected(store: Store) -> None:
    table = Table(store, "t")
    _publish(table, "2024-01-01", 1)
    other = pa.table({"number": ["text"], "more": [1]}).to_reader()
    with pytest.raises(Rejected, match="columns differ"):
        table.publish("2024-01-02", "sha", other, "run")
    assert table.partitions().keys() == {"2024-01-01"}


def test_a_writer_that_asks_what_it_has_appended_writes_each_batch_once(store: Store) -> None:
    """How the server's log writes: a batch counts as written once its number is in the table."""
    table = Table(store, "log")
    batches = {number: pa.table({"number": [number], PARTITION: ["2024-01-01"]}) for number in (1, 2, 3)}
    for _ in range(3):
        for number, rows in batches.items():
            if number > table.appended_by("server-1"):
                table.append_once(rows, "server-1", number)
    assert _numbers(table) == {"2024-01-01": [1, 2, 3]}
    assert table.appended_by("server-1") == 3


def test_writers_count_each_for_itself(store: Store) -> None:
    table = Table(store, "log")
    rows = pa.table({"number": [1], PARTITION: ["2024-01-01"]})
    table.append_once(rows, "server-1", 5)
    assert table.appended_by("server-2") == 0
    table.append_once(rows, "server-2", 1)
    assert (table.appended_by("server-1"), table.appended_by("server-2")) == (5, 1)
