import gzip
from pathlib import Path

import duckdb
import pytest

from include.lifecycle.data.sources import fingerprint, landing_folder, source_files, stage
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.source import FilesSource
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project

DAY = tiny.midnight(1)


@pytest.fixture
def spec(project: Project) -> DatasetSpec:
    return project.catalog.dataset("sky")


def _stage(
    spec: DatasetSpec, tmp_path: Path, text: str | bytes, name: str = "a.csv"
) -> list[tuple[str | None, ...]]:
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    staged = tmp_path / "staged.parquet"
    count = stage(spec, [file], staged)
    rows = duckdb.sql(f"SELECT * FROM read_parquet('{staged}')").fetchall()
    assert count == len(rows)
    return rows


def test_a_partitions_file_is_found_below_the_landing_folder(project: Project) -> None:
    file = tiny.deliver(project, tiny.trips(1), "trips", "2024-01-01")
    assert landing_folder() == project.landing
    assert source_files(project.catalog.dataset("trips").source, DAY) == [file]


def test_a_partition_may_have_many_files(project: Project) -> None:
    source = FilesSource(type="files", path="trips/{partition:%Y-%m-%d}-*.csv")
    files = [tiny.deliver(project, tiny.trips(1), "trips", f"2024-01-01-{part}") for part in "ba"]
    assert source_files(source, DAY) == sorted(files)


def test_a_partition_that_has_not_arrived_is_rejected_with_what_to_do(project: Project) -> None:
    with pytest.raises(Rejected, match=r"2024-01-01\.csv.*has not arrived; put the file there"):
        source_files(project.catalog.dataset("trips").source, DAY)


def test_a_fingerprint_changes_with_any_byte_and_name(tmp_path: Path) -> None:
    one, other = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"x")
    other.write_bytes(b"x")
    assert fingerprint([one]) == fingerprint([one])
    assert fingerprint([one]) != fingerprint([other])
    before = fingerprint([one])
    one.write_bytes(b"y")
    assert fingerprint([one]) != before


def test_staging_keeps_every_value_as_the_source_wrote_it(spec: DatasetSpec, tmp_path: Path) -> None:
    text = 'rain,city,at,more\n"1,5",BER,soon,x\n,"a ""b""",2024-01-01,y\n'
    assert _stage(spec, tmp_path, text) == [("BER", "soon", "1,5"), ('a "b"', "2024-01-01", None)]


def test_packed_files_are_read(spec: DatasetSpec, tmp_path: Path) -> None:
    packed = gzip.compress(b"city,at,rain\nBER,now,1\n")
    assert _stage(spec, tmp_path, packed, "a.csv.gz") == [("BER", "now", "1")]


def test_lines_of_json_are_read(spec: DatasetSpec, tmp_path: Path) -> None:
    lines = spec.model_copy(update={"source": spec.source.model_copy(update={"format": "jsonl"})})
    text = '{"city": "BER", "at": "now", "rain": 1}\n{"city": "MUC", "at": "now", "rain": null}\n'
    assert _stage(lines, tmp_path, text, "a.jsonl") == [("BER", "now", "1"), ("MUC", "now", None)]


def test_parquet_files_are_read(spec: DatasetSpec, tmp_path: Path) -> None:
    parquet = spec.model_copy(update={"source": spec.source.model_copy(update={"format": "parquet"})})
    file = tmp_path / "a.parquet"
    duckdb.sql("SELECT 'BER' AS city, 'now' AS at, 1.5 AS rain").write_parquet(str(file))
    assert _stage(parquet, tmp_path, file.read_bytes(), "b.parquet") == [("BER", "now", "1.5")]


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"city,at,rain\n" + b"BER,now,1\n" * 5000)[:-4],
        b"not gzip at all",
    ],
)
def test_a_file_cut_short_is_rejected_and_nothing_is_taken(
    spec: DatasetSpec, tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(Rejected, match="nothing was taken from it"):
        _stage(spec, tmp_path, content, "a.csv.gz")


@pytest.mark.parametrize("line", ["BER,now", "BER,now,1,2", 'BER,"now,1'])
def test_a_line_with_too_few_or_too_many_values_rejects_the_file(
    spec: DatasetSpec, tmp_path: Path, line: str
) -> None:
    with pytest.raises(Rejected, match="cannot be read to its end"):
        _stage(spec, tmp_path, "city,at,rain\n" + "BER,now,1\n" * 50 + line + "\n")


def test_a_header_that_lacks_a_column_is_rejected_with_the_nearest(spec: DatasetSpec, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"lacks \['rain'\]; did you mean 'rian'\? .*sky.yaml"):
        _stage(spec, tmp_path, "city,at,rian\nBER,now,1\n")


def test_a_file_without_rows_is_rejected(spec: DatasetSpec, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="no rows"):
        _stage(spec, tmp_path, "city,at,rain\n")
