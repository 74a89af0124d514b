from __future__ import annotations

import resource
from pathlib import Path

import pytest

from include.serving.segments import Segments


def test_rows_are_in_the_file_when_append_returns(tmp_path: Path) -> None:
    Segments(tmp_path).append(b"one\ntwo\n", 2)
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == b"one\ntwo\n"


def test_closed_files_come_in_order_and_leave_when_dropped(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    for line in (b"one\n", b"two\n"):
        segments.append(line, 1)
        segments.rotate()
    closed = segments.closed(1000)
    assert [segment.file.read_bytes() for segment in closed] == [b"one\n", b"two\n"]
    assert (segments.appended, segments.backlog, segments.dropped) == (2, 2, 0)
    segments.drop(closed)
    assert (segments.appended, segments.backlog, segments.dropped) == (2, 0, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_is_bounded_in_bytes_but_has_one_file_at_least(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    for _ in range(3):
        segments.append(b"0123456\n", 1)
        segments.rotate()
    assert len(segments.closed(max_bytes=16)) == 2
    assert len(segments.closed(max_bytes=1)) == 1


def test_files_of_a_process_that_died_are_found_and_not_mixed_with_new_ones(tmp_path: Path) -> None:
    Segments(tmp_path).append(b"old\n", 1)
    segments = Segments(tmp_path)
    assert segments.backlog == 1
    segments.append(b"new\n", 1)
    segments.rotate()
    assert [segment.file.read_bytes() for segment in segments.closed(1000)] == [b"old\n"]
    segments.drop(segments.closed(1000))
    assert [segment.file.read_bytes() for segment in segments.closed(1000)] == [b"new\n"]


def test_a_full_disk_refuses_the_rows_and_leaves_no_torn_line(tmp_path: Path) -> None:
    segments = Segments(tmp_path)
    segments.append(b"0123456\n", 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12, before[1]))
    try:
        with pytest.raises(OSError, match="no space left"):
            segments.append(b"7654321\n", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    segments.append(b"abcdefg\n", 1)
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == b"0123456\nabcdefg\n"
    assert segments.backlog == 2
