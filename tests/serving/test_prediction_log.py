from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from include.lifecycle.release.document import Release
from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import Store
from include.serving.logged_row import lines_of
from include.serving.metrics import Metrics
from include.serving.prediction_log import HomeInUse, PredictionLog, owned
from include.serving.rows import Rows

RELEASE = Release(version="3", run_key="run", as_of=datetime(2013, 3, 1, tzinfo=UTC), package={})
MODEL = "delay"


@contextmanager
def opened(folder: Path, store: Store) -> Iterator[PredictionLog]:
    with owned(folder, patience=0):
        log = PredictionLog(folder, store, Metrics(), every=60)
        try:
            yield log
        finally:
            log.close(20)


def lines(request_id: str, count: int = 1, day: int = 31) -> bytes:
    moment = datetime(2013, 1, day, 14, tzinfo=UTC)
    rows = Rows(
        count,
        typed={},
        inputs={"carrier": ["UA"] * count, "time_hour": [moment] * count},
        keys=[f"key-{number}" for number in range(count)],
        event_times=[moment] * count,
    )
    names = [request_id] if count == 1 else [f"{request_id}/{number}" for number in range(count)]
    return lines_of(names, MODEL, RELEASE, "champion", rows, [0.25] * count)


def table(store: Store) -> Table:
    return Table(store, f"predictions__{MODEL}")


def logged(store: Store) -> list[str]:
    """The request ids in Delta, in order, repeats and all."""
    dataset = table(store).dataset()
    assert dataset is not None
    return sorted(dataset.to_table(["request_id"])["request_id"].to_pylist())


def test_rows_arrive_in_delta_with_all_their_columns(tmp_path: Path, any_store: Store) -> None:
    with opened(tmp_path / "log", any_store) as log:
        log.record(MODEL, lines("a", count=2), 2)
        assert log.flush(20) == []
        dataset = table(any_store).dataset()
        assert dataset is not None
        row = dataset.to_table().sort_by("request_id").to_pylist()[1]
    assert (datetime.now(UTC) - row.pop("at")).total_seconds() < 60
    assert json.loads(row.pop("inputs")) == {"carrier": "UA", "time_hour": "2013-01-31T14:00:00Z"}
    assert row == {
        "request_id": "a/1",
        "key": "key-1",
        "event_time": datetime(2013, 1, 31, 14, tzinfo=UTC),
        "model": MODEL,
        "version": "3",
        "arm": "champion",
        "version_as_of": RELEASE.as_of,
        "score": 0.25,
        "_partition": "2013-01-31",
    }


def test_a_burst_over_several_days_is_one_commit(tmp_path: Path, any_store: Store) -> None:
    with opened(tmp_path / "log", any_store) as log:
        log.record(MODEL, lines("first"), 1)
        log.flush(20)
        before = table(any_store).version()
        log.record(MODEL, b"".join(lines(f"{day}", day=day) for day in range(1, 6)), 5)
        log.flush(20)
    assert before is not None
    assert table(any_store).version() == before + 1


def test_a_crash_between_commit_and_deletion_writes_nothing_twice(tmp_path: Path, any_store: Store) -> None:
    folder = tmp_path / "log"
    with opened(folder, Store(str(tmp_path / "never"))) as log:
        log.record(MODEL, lines("a"), 1)
        saved = shutil.copytree(folder / MODEL, tmp_path / "saved")
    shutil.copytree(saved, folder / MODEL, dirs_exist_ok=True)
    with opened(folder, any_store) as log:
        assert log.flush(20) == []
    shutil.copytree(saved, folder / MODEL, dirs_exist_ok=True)
    with opened(folder, any_store) as log:
        log.record(MODEL, lines("b"), 1)
        assert log.flush(20) == []
    assert logged(any_store) == ["a", "b"]
    assert list((folder / MODEL).iterdir()) == []


def test_the_line_that_a_kill_tore_is_set_aside_and_the_others_arrive(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "log"
    (folder / MODEL).mkdir(parents=True)
    segment = folder / MODEL / f"{'0' * 32}-000000001.jsonl"
    segment.write_bytes(lines("a") + lines("b") + lines("c")[:40])
    with opened(folder, store) as log:
        assert log.flush(20) == []
    assert logged(store) == ["a", "b"]
    assert (folder / MODEL / "unreadable").read_bytes().strip() == lines("c")[:40]


def test_rows_wait_on_disk_while_the_store_is_away_and_arrive_when_it_is_back(
    tmp_path: Path, store: Store
) -> None:
    tables = tmp_path / "store" / "tables"
    tables.write_text("in the way")
    with opened(tmp_path / "log", store) as log:
        log.record(MODEL, lines("a"), 1)
        assert log.flush(0.5) == [MODEL]
        tables.unlink()
        assert log.flush(20) == []
    assert logged(store) == ["a"]


def test_many_threads_lose_and_repeat_nothing(tmp_path: Path, store: Store) -> None:
    with opened(tmp_path / "log", store) as log:

        def work(name: str) -> None:
            for number in range(100):
                log.record(MODEL, lines(f"{name}-{number:03d}"), 1)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert log.flush(20) == []
    assert logged(store) == [f"{name}-{number:03d}" for name in "abcd" for number in range(100)]


def test_two_servers_do_not_share_a_log(tmp_path: Path) -> None:
    with (
        owned(tmp_path, patience=0),
        pytest.raises(HomeInUse, match="set PERENNIAL_HOME"),
        owned(tmp_path, patience=0),
    ):
        pass
