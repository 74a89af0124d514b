"""Files that are not what they should be: nothing is taken from them, and the next delivery cures."""

from __future__ import annotations

import ctypes
import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ByteSize

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.data.sources import open_source
from include.lifecycle.data.sources.formats import read_file
from include.lifecycle.data.staging import stage
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.store.connections import environment_connection
from tests.bad_input import source, tasks
from tests.bad_input.project import Project, refused


def test_a_missing_file_names_the_file_that_is_waited_for(project: Project, control: Project) -> None:
    partition = source.day(10)
    file = project.landing / "trips" / f"{partition}.csv.gz"
    with project.unharmed(), refused(Rejected, f"no file {file}", "put the file there, then clear this task"):
        tasks.extract(partition)
    project.deliver(partition)
    project.ingest_as(control, partition)


def test_a_wrong_header_names_the_missing_column_and_what_was_found(
    project: Project, control: Project
) -> None:
    partition = source.day(11)
    text = source.text_of(source.trips(partition)).replace(b"zone", b"zones", 1)
    file = project.deliver(partition, text)
    with (
        project.unharmed(),
        refused(
            Rejected,
            f"{file}: the header lacks ['zone']; did you mean 'zones'?",
            "mend the file or the columns in trips.yaml",
        ),
    ):
        tasks.extract(partition)
    project.deliver(partition)
    project.ingest_as(control, partition)


@pytest.mark.parametrize(("number", "kept"), [(12, 0.5), (13, -4), (14, 10)])
def test_nothing_is_taken_from_a_truncated_gzip(
    project: Project, control: Project, number: int, kept: float
) -> None:
    partition = source.day(number)
    file = project.deliver(partition)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    with (
        project.unharmed(),
        refused(
            Rejected,
            f"{file}: cannot be read to its end, nothing was taken from it",
            "deliver the file again",
        ),
    ):
        tasks.extract(partition)
    project.deliver(partition)
    project.ingest_as(control, partition)


@pytest.fixture
def spec(tmp_path: Path) -> DatasetSpec:
    source.write_specs(tmp_path)
    return Catalog(tmp_path).dataset("trips")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "2024-03-01.csv.gz"


def staged_rows(spec: DatasetSpec, files: list[Path], staged: Path) -> int:
    """Stage files, wherever they lie; returns the number of rows."""
    batches = (batch for file in files for batch in read_file(file, str(file), "csv", spec.source.max_size))
    return stage(spec, batches, staged).rows


TEXT = source.text_of(source.trips("2024-03-01"))
HEADER, ROWS = TEXT.split(b"\n", 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "(found: nothing)"),
        (HEADER, "no rows; if there may be none"),
        (HEADER.upper() + b"\n" + ROWS, "(found: TRIP, AT, ZONE"),
        (TEXT.replace(b"refund", b"delay", 1), "the header lacks ['refund']"),
        (HEADER + b",zone\n" + ROWS.replace(b"\n", b",x\n"), "the header names ['zone'] twice"),
        (TEXT.replace(b",", b";"), "(found: trip;at;zone"),
        (TEXT[:-20], "Expected Number of Columns: 7 Found: 3"),
        (TEXT + b"a,row,of,more,than,seven,values,x\n", "Expected Number of Columns: 7 Found: 8"),
        (TEXT.replace(b"north", b"n\xf6rth", 1), "0xf6 is not UTF-8, it looks like latin-1"),
        (TEXT.replace(b"north", b"n\0rth", 1), "a NUL byte in line "),
        (TEXT.decode().encode("utf-16"), "a NUL byte in line 1 (byte 4)"),
        (TEXT + TEXT, "line 62 is a header again"),
        (TEXT + HEADER.replace(b"zone", b"area") + b"\n" + ROWS, "line 62 is a header again"),
        (TEXT + b"zone,at,trip,distance,seats,delay,refund\n" + ROWS, "line 62 is a header again"),
        (
            TEXT + HEADER + b",tip\n" + ROWS.replace(b"\n", b",5\n"),
            "Line: 62 Expected Number of Columns: 7 Found: 8",
        ),
        (TEXT.replace(b"north", b"x" * 100_000_000, 1), "is longer than 2 MB"),
        (TEXT.replace(b"north", b'"' + b"x" * 100_000_000 + b'"', 1), "is longer than 2 MB"),
        (b"x" * 100_000_000, "is longer than 2 MB"),
        (TEXT.replace(b"north", b'"north', 1), "cannot be read to its end"),
    ],
    ids=[
        "nothing",
        "header only",
        "case",
        "missing",
        "twice",
        "semicolon",
        "torn",
        "long",
        "latin-1",
        "NUL",
        "utf-16",
        "header again",
        "other header",
        "permuted header",
        "wider header",
        "100 MB field",
        "100 MB quoted field",
        "100 MB line",
        "quote",
    ],
)
def test_a_file_that_cannot_be_read_whole_is_refused_with_the_place(
    spec: DatasetSpec, file: Path, text: bytes, words: str
) -> None:
    file.write_bytes(gzip.compress(text))
    with pytest.raises(Rejected) as caught:
        staged_rows(spec, [file], file.with_name("staged"))
    assert str(file) in str(caught.value)
    assert words in str(caught.value)
    assert "strict_mode" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert not any(row in str(caught.value) for row in TEXT.decode().splitlines()[1:])


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-8] + bytes(8),
        lambda whole: whole + b"more",
        lambda whole: whole + whole[:-30],
        lambda _: TEXT,
    ],
    ids=["checksum", "trailing bytes", "second member", "no gzip"],
)
def test_a_gzip_whose_bytes_are_wrong_is_refused(
    spec: DatasetSpec, file: Path, damage: Callable[[bytes], bytes]
) -> None:
    file.write_bytes(damage(gzip.compress(TEXT)))
    with pytest.raises(Rejected, match="cannot be read to its end, nothing was taken from it"):
        staged_rows(spec, [file], file.with_name("staged"))


def test_a_gzip_that_unpacks_to_more_than_max_size_is_refused(spec: DatasetSpec, file: Path) -> None:
    file.write_bytes(gzip.compress(TEXT + b"\n" * 1_000_000))
    small = spec.model_copy(update={"source": spec.source.model_copy(update={"max_size": ByteSize(500_000)})})
    with pytest.raises(Rejected, match=r"larger than source.max_size .* raise max_size"):
        staged_rows(small, [file], file.with_name("staged"))


def test_of_two_files_each_needs_the_whole_header(spec: DatasetSpec, file: Path) -> None:
    other = file.with_name("more.csv.gz")
    file.write_bytes(gzip.compress(TEXT))
    other.write_bytes(gzip.compress(TEXT.replace(b"zone", b"area", 1)))
    with pytest.raises(Rejected, match=r"more.csv.gz: the header lacks \['zone'\]"):
        staged_rows(spec, [file, other], file.with_name("staged"))


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        (TEXT, "north"),
        (b"\xef\xbb\xbf" + TEXT, "north"),
        (TEXT.replace(b"\n", b"\r\n"), "north"),
        (TEXT.replace(b"north", b'"no\nrth, ""upper"""'), 'no\nrth, "upper"'),
        (TEXT.replace(b"north", "nörth".encode()), "nörth"),
        (TEXT.replace(b"north", b"x" * 30_000), "x" * 30_000),
        (TEXT.replace(b"north", b"#north"), "#north"),
        (HEADER + b",tip\n" + ROWS.replace(b"\n", b",5\n"), "north"),
    ],
    ids=["plain", "bom", "crlf", "quoted", "utf-8", "long", "hash", "extra column"],
)
def test_a_file_that_only_looks_odd_is_taken_whole(
    spec: DatasetSpec, file: Path, text: bytes, zone: str
) -> None:
    file.write_bytes(gzip.compress(text))
    staged = file.with_name("staged")
    assert staged_rows(spec, [file], staged) == source.ROWS
    found, trips = pd.read_parquet(staged), source.trips("2024-03-01")
    assert found["trip"].tolist() == trips["trip"].tolist()
    assert found["zone"].tolist() == trips["zone"].replace("north", zone).tolist()
    assert found["refund"].isna().all()


def test_a_row_that_begins_with_a_hash_is_a_row(spec: DatasetSpec, file: Path) -> None:
    file.write_bytes(gzip.compress(HEADER + b"\n#" + ROWS))
    staged = file.with_name("staged")
    assert staged_rows(spec, [file], staged) == source.ROWS
    assert pd.read_parquet(staged)["trip"][0].startswith("#")


def test_a_folder_in_place_of_the_file_is_refused(project: Project, control: Project) -> None:
    partition = source.day(15)
    folder = project.landing / "trips" / f"{partition}.csv.gz"
    folder.mkdir()
    with project.unharmed(), refused(Rejected, f"{folder}: cannot be opened", "then clear this task"):
        tasks.extract(partition)
    folder.rmdir()
    project.deliver(partition)
    project.ingest_as(control, partition)


def test_a_file_without_the_right_to_read_it_is_refused(
    spec: DatasetSpec, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(gzip.compress(TEXT))
    file.chmod(0)
    monkeypatch.setenv("PERENNIAL_LANDING", str(file.parent))
    there = spec.model_copy(update={"source": spec.source.model_copy(update={"path": file.name})})
    opened = open_source(there, calendar_of(there).named("2024-03-01"), environment_connection)
    with without_root_powers(), pytest.raises(Rejected, match="cannot be opened \\(Permission denied\\)"):
        opened.fingerprint()
    file.chmod(0o600)
    assert opened.fingerprint()


@contextmanager
def without_root_powers() -> Iterator[None]:
    """Let file permissions bind this thread even if it is root's."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    after = (ctypes.c_uint32 * 6)(*before)
    after[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, of the effective set
    assert libc.capset(header, after) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0
