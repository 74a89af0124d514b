import json
import stat
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake.exceptions import CommitFailedError
from hypothesis import given, settings
from hypothesis import strategies as st
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.store.lake import CONTENT, PARTITION, Replacement, Table
from include.lifecycle.store.objects import Store

Publish = Callable[..., tuple[int, bool]]


def _file(folder: Path, rows: pa.Table) -> Path:
    file = folder / f"{uuid.uuid4().hex}.parquet"
    pq.write_table(rows, file)
    return file


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    """Publishes numbers under a label that names them."""

    def publish(table: Table, partition: str, *numbers: int) -> tuple[int, bool]:
        file = _file(tmp_path, pa.table({"number": pa.array(numbers, pa.int64())}))
        return table.publish(partition, f"sha-of-{numbers}", file, "the-run-key")

    return publish


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


def test_the_same_content_again_makes_no_commit(store: Store, publish: Publish) -> None:
    table = Table(store, "t")
    version, changed = publish(table, "2024-01-01", 1, 2)
    assert changed
    assert publish(table, "2024-01-01", 1, 2) == (version, False)
    assert table.version() == version


def test_publishing_replaces_one_partition_and_no_other(store: Store, publish: Publish) -> None:
    table = Table(store, "t")
    publish(table, "2024-01-01", 1, 2)
    publish(table, "2024-01-02", 3)
    publish(table, "2024-01-01", 4)
    assert _numbers(table) == {"2024-01-01": [4], "2024-01-02": [3]}
    assert table.partitions() == {"2024-01-01": "sha-of-(4,)", "2024-01-02": "sha-of-(3,)"}


def test_a_pinned_version_still_reads_after_later_publications(store: Store, publish: Publish) -> None:
    table = Table(store, "t")
    pinned, _ = publish(table, "2024-01-01", 1, 2)
    for number in range(10, 15):
        publish(table, "2024-01-01", number)
    assert _numbers(table, pinned) == {"2024-01-01": [1, 2]}
    assert table.partitions(pinned) == {"2024-01-01": "sha-of-(1, 2)"}
    assert _numbers(table) == {"2024-01-01": [14]}


def test_old_versions_are_kept_for_ever(store: Store, publish: Publish) -> None:
    table = Table(store, "t")
    publish(table, "2024-01-01", 1)
    metadata = table._open()
    assert metadata is not None
    assert metadata.metadata().configuration["delta.enableExpiredLogCleanup"] == "false"


def test_a_commit_carries_the_run_key(store: Store, publish: Publish) -> None:
    table = Table(store, "t")
    publish(table, "2024-01-01", 1)
    opened = table._open()
    assert opened is not None
    assert opened.history(1)[0]["run_key"] == "the-run-key"


def test_two_partitions_published_at_once_both_survive(store: Store, publish: Publish) -> None:
    gate = Barrier(4)
    table = Table(store, "t")
    publish(table, "2024-01-09", 9)

    def at_once(day: int) -> object:
        gate.wait()
        return _retrying(lambda: publish(Table(store, "t"), f"2024-01-0{day}", day))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(at_once, range(1, 5)))
    assert _numbers(table) == {f"2024-01-0{day}": [day] for day in (1, 2, 3, 4, 9)}


def test_one_partition_published_at_once_by_many_holds_the_rows_of_one(
    store: Store, publish: Publish
) -> None:
    gate = Barrier(4)

    def at_once(number: int) -> object:
        gate.wait()
        return _retrying(lambda: publish(Table(store, "t"), "2024-01-01", number, number + 100))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(at_once, range(1, 5)))
    (numbers,) = _numbers(Table(store, "t")).values()
    assert numbers[1] == numbers[0] + 100
    assert len(numbers) == 2


def test_partitions_that_are_replaced_at_once_all_are(store: Store, publish: Publish) -> None:
    gate = Barrier(4)
    table = Table(store, "t")
    for day in range(1, 5):
        publish(table, f"2024-01-0{day}", day)

    def at_once(day: int) -> tuple[int, bool]:
        gate.wait()
        return publish(Table(store, "t"), f"2024-01-0{day}", day, 10 * day)

    with ThreadPoolExecutor(4) as pool:
        assert all(changed for _, changed in pool.map(at_once, range(1, 5)))
    assert _numbers(table) == {f"2024-01-0{day}": [day, 10 * day] for day in range(1, 5)}


def test_two_runners_of_one_content_make_one_version(store: Store, publish: Publish) -> None:
    gate = Barrier(4)
    before, _ = publish(Table(store, "t"), "2024-01-01", 1)

    def at_once(_: int) -> object:
        gate.wait()
        return _retrying(lambda: publish(Table(store, "t"), "2024-01-01", 2))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(at_once, range(4)))
    assert sorted(found) == [(before + 1, False)] * 3 + [(before + 1, True)]  # type: ignore[type-var]
    assert Table(store, "t").version() == before + 1


def test_whoever_was_overtaken_is_told_so(store: Store, publish: Publish, tmp_path: Path) -> None:
    table = Table(store, "t")
    publish(table, "2024-01-01", 1)
    rows = pa.table({"number": [2]})
    add = table._copy_in(Replacement("slow", _file(tmp_path, rows)), "2024-01-01")
    publish(table, "2024-01-01", 3)
    opened = table._open()
    assert opened is not None
    with pytest.raises(Transient, match="another run published 2024-01-01 first"):
        table._commit(opened, [add], rows.schema, {"2024-01-01": 1}, "slow", widen=False)
    assert _numbers(table) == {"2024-01-01": [3]}


def test_partitions_that_are_published_together_are_replaced_in_one_commit_or_not_at_all(
    store: Store, publish: Publish, tmp_path: Path
) -> None:
    def replacement(number: int, over: str | None) -> Replacement:
        rows = pa.table({"number": [number, number]})
        return Replacement(f"sha-of-{(number,)}", _file(tmp_path, rows), over)

    table = Table(store, "t")
    for day, number in {"a": 1, "b": 2, "c": 3}.items():
        publish(table, day, number)
    together = {"a": replacement(1, None), "b": replacement(7, "1"), "d": replacement(8, None)}
    before = table.version() or 0
    assert table.publish_together(together, "run") == (before + 1, True)
    assert _numbers(table) == {"a": [1], "b": [7, 7], "c": [3], "d": [8, 8]}, "a has its content already"
    assert table.rows() == {"a": 1, "b": 2, "c": 1, "d": 2}
    assert table.publish_together(together, "run") == (before + 1, False)
    assert table.publications("abcdx") == {"a": "1", "b": "2", "c": "1", "d": "1"}
    with pytest.raises(Transient, match="another run published b first"):
        table.publish_together({"c": replacement(9, "1"), "b": replacement(9, "1")}, "late")
    assert (table.version(), _numbers(table)["c"]) == (before + 1, [3])


def test_publications_of_a_partition_are_counted(store: Store, publish: Publish) -> None:
    table = Table(store, "t")
    assert table.publication("2024-01-01") is None
    for number in (1, 2, 1, 1):
        publish(table, "2024-01-01", number)
    publish(table, "2024-01-02", 1)
    assert table.publication("2024-01-01") == "3"
    assert table.publication("2024-01-02") == "1"


def test_an_empty_partition_is_published_once_too(store: Store, publish: Publish) -> None:
    table = Table(store, "t")
    version, _ = publish(table, "2024-01-01")
    assert publish(table, "2024-01-01") == (version, False)
    assert table.partitions() == {"2024-01-01": "sha-of-()"}
    assert _numbers(table) == {}


@given(
    publications=st.lists(
        st.tuples(st.integers(1, 3), st.lists(st.integers(0, 9), max_size=3)), min_size=1, max_size=12
    )
)
@settings(max_examples=25)
def test_any_sequence_of_publications_leaves_the_newest_content_of_each_partition(
    publications: list[tuple[int, list[int]]], store: Store, publish: Publish
) -> None:
    table = Table(store, f"t-{uuid.uuid4().hex}")
    newest: dict[str, list[int]] = {}
    versions = 0
    for day, numbers in publications:
        partition = f"2024-01-0{day}"
        _, changed = publish(table, partition, *numbers)
        assert changed == (newest.get(partition) != numbers)
        newest[partition] = numbers
        versions += changed
        filled = {name: sorted(found) for name, found in newest.items() if found}
        assert _numbers(table) == filled
    assert table.partitions() == {name: f"sha-of-{tuple(found)}" for name, found in newest.items()}
    assert table.version() == versions


def test_a_new_column_is_nothing_in_old_rows_and_a_lost_one_nothing_in_new_rows(
    store: Store, tmp_path: Path
) -> None:
    table = Table(store, "t")
    pinned, _ = table.publish("a", "1", _file(tmp_path, pa.table({"x": [1], "y": ["old"]})), "run")
    table.publish("b", "2", _file(tmp_path, pa.table({"x": [2], "z": [0.5]})), "run")
    dataset = table.dataset()
    assert dataset is not None
    rows = dataset.to_table(columns=["x", "y", "z"]).sort_by("x").to_pylist()
    assert rows == [{"x": 1, "y": "old", "z": None}, {"x": 2, "y": None, "z": 0.5}]
    before = table.dataset(pinned)
    assert before is not None
    assert before.to_table().drop_columns([PARTITION, CONTENT]).to_pylist() == [{"x": 1, "y": "old"}]


def test_writers_that_all_bring_the_same_new_column_all_get_through(store: Store, tmp_path: Path) -> None:
    gate = Barrier(4)
    Table(store, "t").publish("0", "0", _file(tmp_path, pa.table({"x": [0]})), "run")

    def at_once(number: int) -> object:
        file = _file(tmp_path, pa.table({"x": [number], "more": ["m"]}))
        gate.wait()
        return Table(store, "t").publish(str(number), "1", file, "run")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(at_once, range(1, 5)))
    dataset = Table(store, "t").dataset()
    assert dataset is not None
    rows = dataset.to_table(columns=["x", "more"]).sort_by("x").to_pydict()
    assert rows == {"x": [0, 1, 2, 3, 4], "more": [None, "m", "m", "m", "m"]}


OLD = {"integer": pa.array([1, None]), "number": pa.array([0.5, None]), "boolean": pa.array([True, None])}
MOMENT = pa.array([0, None], pa.timestamp("us", tz="UTC"))


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        (OLD["integer"], pa.array([0.5]), [1.0, None]),
        (OLD["integer"], pa.array(["x"]), ["1", None]),
        (OLD["number"], pa.array(["x"]), ["0.5", None]),
        (OLD["boolean"], pa.array(["x"]), ["true", None]),
        (MOMENT, pa.array(["x"]), ["1970-01-01 00:00:00.000000Z", None]),
    ],
    ids=["integer-number", "integer-string", "number-string", "boolean-string", "timestamp-string"],
)
def test_a_wider_type_rewrites_the_table_in_one_commit(
    store: Store, tmp_path: Path, old: pa.Array, new: pa.Array, kept: list[object]
) -> None:
    table = Table(store, "t")
    for name in ("a", "b"):
        table.publish(name, f"sha-{name}", _file(tmp_path, pa.table({"n": range(2), "x": old})), "run")
    pinned = table.version()
    assert pinned is not None
    more = _file(tmp_path, pa.table({"n": [2], "x": new}))
    with pytest.raises(Rejected, match=r"column x is \w+ in the table and \w+ now: .*widened: rewrite"):
        table.publish("c", "sha-c", more, "run")
    assert table.version() == pinned
    version, _ = table.publish("c", "sha-c", more, "run", widen=True)
    assert version == pinned + 2

    dataset, before = table.dataset(), table.dataset(pinned)
    assert dataset is not None
    assert before is not None
    assert dataset.schema.field("x").type == new.type
    found = dataset.to_table().sort_by([(PARTITION, "ascending"), ("n", "ascending")])
    assert found.column("x").to_pylist() == [*kept, *kept, *new.to_pylist()]
    assert table.partitions() == {"a": "sha-a", "b": "sha-b", "c": "sha-c"}
    assert table.publication("a") == "1"
    assert before.schema.field("x").type == old.type
    assert before.to_table().column("x").to_pylist() == old.to_pylist() * 2


def test_a_first_file_without_missing_values_forbids_none_later(store: Store, tmp_path: Path) -> None:
    table = Table(store, "t")
    required = pa.table({"x": [1]}, schema=pa.schema([pa.field("x", pa.int64(), nullable=False)]))
    table.publish("a", "1", _file(tmp_path, required), "run")
    table.publish("b", "1", _file(tmp_path, pa.table({"x": pa.array([None], pa.int64())})), "run")
    dataset = table.dataset()
    assert dataset is not None
    assert sorted(dataset.to_table().column("x").to_pylist(), key=str) == [1, None]


def test_a_narrower_type_is_rejected(store: Store, tmp_path: Path) -> None:
    table = Table(store, "t")
    table.publish("a", "1", _file(tmp_path, pa.table({"x": ["text"]})), "run")
    with pytest.raises(Rejected, match="column x is string in the table and integer now: restore the type"):
        table.publish("b", "2", _file(tmp_path, pa.table({"x": [1]})), "run", widen=True)
    assert table.partitions() == {"a": "1"}


def test_a_whole_number_that_no_number_holds_is_not_rounded(store: Store, tmp_path: Path) -> None:
    table = Table(store, "t")
    table.publish("a", "1", _file(tmp_path, pa.table({"x": [2**53 + 1]})), "run")
    with pytest.raises(Rejected, match="column x: a published value does not fit the wider type"):
        table.publish("b", "2", _file(tmp_path, pa.table({"x": [0.5]})), "run", widen=True)
    assert table.partitions() == {"a": "1"}


def test_a_rewrite_that_was_overtaken_loses_no_row(store: Store, tmp_path: Path) -> None:
    table = Table(store, "t")
    table.publish("a", "1", _file(tmp_path, pa.table({"x": [1]})), "run")
    opened = table._open()
    assert opened is not None
    table.publish("b", "1", _file(tmp_path, pa.table({"x": [2]})), "run")
    wide = pa.table({"x": [0.5]})
    with pytest.raises(CommitFailedError):
        table._fit(opened, wide.schema, "slow")
    table.publish("c", "1", _file(tmp_path, wide), "run", widen=True)
    dataset = table.dataset()
    assert dataset is not None
    assert sorted(dataset.to_table().column("x").to_pylist()) == [0.5, 1.0, 2.0]


def test_the_log_holds_no_values(store: Store, tmp_path: Path) -> None:
    table = Table(store, "t")
    table.publish("a", "1", _file(tmp_path, pa.table({"x": ["secret-1"], "y": [4711]})), "run")
    table.append_once(
        pa.table({"x": ["secret-2"], "y": [4712], PARTITION: ["a"], CONTENT: ["2"]}), "writer", 1
    )
    log = [store.get(path) or b"" for path in store.list("tables/t/_delta_log")]
    assert len(log) == 3
    assert not any(value in entry for entry in log for value in (b"secret", b"4711", b"4712"))
    statistics = [json.loads(line)["add"]["stats"] for line in b"".join(log).splitlines() if b'"add"' in line]
    assert all(json.loads(item)["numRecords"] == 1 for item in statistics)


def test_a_restricted_table_lies_apart(store: Store, publish: Publish, tmp_path: Path) -> None:
    publish(Table(store, "t", restricted=True), "2024-01-01", 1)
    assert store.list("tables") == []
    assert store.list("quarantine/t")
    if (folder := tmp_path / "store/quarantine").is_dir():
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


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
