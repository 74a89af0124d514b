import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pydantic import ByteSize

from include.lifecycle.data.sources import landing_place
from include.lifecycle.data.sources.json_rows import json_batches
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.store.connections import Connection
from include.lifecycle.store.scan import connect
from tests.lifecycle import tiny
from tests.lifecycle.data.sources.reading import dataset, opened, rows_of
from tests.lifecycle.tiny import Project
from tests.servers import only

TEXT = b"city,at,rain\nBER,now,1\n"
ROW = {"city": "BER", "at": "now", "rain": "1"}


def files(path: str = "sky/{partition:%Y-%m-%d}.csv", **source: object) -> DatasetSpec:
    return dataset({"type": "files", "path": path, **source})


@pytest.fixture
def put(project: Project) -> Callable[[str, bytes], Path]:
    def put(name: str, content: bytes) -> Path:
        file = project.landing / "sky" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    return put


Put = Callable[[str, bytes], Path]


def fingerprint(spec: DatasetSpec, partition: str = "2024-01-01") -> str | None:
    return opened(spec, only(Connection()), partition).fingerprint()


def test_a_partitions_file_is_found_below_the_landing_folder(project: Project) -> None:
    tiny.deliver(project, tiny.sky(1), "sky", "2024-01-01")
    tiny.deliver(project, tiny.sky(2), "sky", "2024-01-02")
    assert landing_place() == str(project.landing)
    found = rows_of(files())
    assert len(found) == len(tiny.sky(1))
    assert {str(row["at"])[:10] for row in found} == {"2024-01-01"}


def test_a_partition_may_have_many_files_in_many_folders(put: Put) -> None:
    for name, city in {
        "2024-01-01/b/x.csv": b"B",
        "2024-01-01/a/x.csv": b"A",
        "2024-01-02/a/x.csv": b"C",
    }.items():
        put(name, TEXT.replace(b"BER", city))
    put("2024-01-01/a/folder.csv/readme.txt", b"not mine")
    assert [row["city"] for row in rows_of(files("sky/{partition:%Y-%m-%d}/*/*.csv"))] == ["A", "B"]


def test_a_landing_folder_with_odd_characters_is_no_glob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Project
) -> None:
    folder = tmp_path / "it's [1] *"
    (folder / "sky").mkdir(parents=True)
    (folder / "sky/2024-01-01.csv").write_bytes(TEXT)
    (folder / "sky/2024-01-01.jsonl").write_bytes(b'{"city": "BER"}')
    duckdb.sql("SELECT 'BER' AS city").write_parquet(str(folder / "sky/2024-01-01.parquet"))
    monkeypatch.setenv("PERENNIAL_LANDING", str(folder))
    assert rows_of(files()) == [ROW]
    for kind in ("parquet", "jsonl"):
        assert rows_of(files(f"sky/{{partition:%Y-%m-%d}}.{kind}", format=kind)) == [{"city": "BER"}]


def test_where_files_land_in_a_bucket_the_same_yaml_reads_them_there(
    put: Put, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = put("2024-01-01.csv", TEXT)
    monkeypatch.setenv("PERENNIAL_LANDING", file.parents[1].as_uri())
    assert rows_of(files()) == [ROW]
    with pytest.raises(Rejected, match=r"no object file://.*2024-01-02\.csv.*has not arrived"):
        rows_of(files(), partition="2024-01-02")


def test_a_file_of_a_local_day_bears_the_days_local_name(put: Put) -> None:
    put("2024-07-01.csv", TEXT)
    spec = dataset(
        {"type": "files", "path": "sky/{partition:%Y-%m-%d}.csv"}, timezone="Asia/Tokyo"
    )  # begins on 30 June in UTC
    assert rows_of(spec, partition="2024-07-01") == [ROW]


def test_a_partition_that_has_not_arrived_is_rejected_with_what_to_do(project: Project) -> None:
    with pytest.raises(Rejected, match=r"2024-01-01\.csv.*has not arrived; put the file there"):
        fingerprint(files())


def test_a_fingerprint_changes_with_any_byte_and_name(put: Put) -> None:
    spec = files("sky/{partition:%Y-%m-%d}-*")
    file = put("2024-01-01-a", b"x")
    one = fingerprint(spec)
    assert one == fingerprint(spec)
    put("2024-01-01-a", b"y")
    assert fingerprint(spec) != one
    file.unlink()
    put("2024-01-01-b", b"x")
    assert fingerprint(spec) != one


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_packed_files_are_read(put: Put, kind: str, packing: str) -> None:
    text = TEXT if kind == "csv" else b'{"city": "BER", "at": "now", "rain": 1}\n'
    codec = {"gz": "gzip", "zst": "zstd"}[packing]
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as packed:
        packed.write(text)
    put(f"2024-01-01.{kind}.{packing}", sink.getvalue().to_pybytes())
    assert rows_of(files(f"sky/{{partition:%Y-%m-%d}}.{kind}.{packing}", format=kind)) == [ROW]


def test_lines_of_json_keep_numbers_as_they_were_written(put: Put) -> None:
    put(
        "2024-01-01.jsonl",
        b'\xef\xbb\xbf{"a": 1.10, "b": "x\\ny", "c": [1, {"d": 2.50}]}\n\n'
        b'{"a": null, "z": false, "b": ""}\n{}\n',
    )
    assert rows_of(files("sky/{partition:%Y-%m-%d}.jsonl", format="jsonl")) == [
        {"a": "1.10", "b": "x\ny", "c": '[1, {"d": 2.50}]', "z": None},
        {"a": None, "b": "", "c": None, "z": "false"},
        {"a": None, "b": None, "c": None, "z": None},
    ]


@pytest.mark.parametrize("line", [b"[1]", b'{"a": ', b'{"a": "n\xf6"}', b"{'a': 1}", b'{"a": NaN}'])
def test_a_line_that_is_no_json_object_is_named(put: Put, line: bytes) -> None:
    put("2024-01-01.jsonl", b'{"a": 1}\n' * 3 + line + b"\n")
    with pytest.raises(Rejected, match="line 4 is not a JSON object in UTF-8, nothing was taken from it"):
        rows_of(files("sky/{partition:%Y-%m-%d}.jsonl", format="jsonl"))


def test_parquet_timestamps_come_back_as_the_same_instants(put: Put) -> None:
    file = put("2024-01-01.parquet", b"")
    values = {
        "city": "'BER'",
        "at": "TIMESTAMPTZ '2024-07-01 12:00:00.123456+02'",
        "local": "TIMESTAMP_NS '2024-01-01 00:00:00.123456789'",
        "rain": "0.1::FLOAT",
        "big": "1e300",
        "exact": "1.10::DECIMAL(10, 2)",
        "yes": "true",
        "nothing": "NULL::INTEGER",
    }
    duckdb.sql(f"SELECT {', '.join(f'{sql} AS {name}' for name, sql in values.items())}").write_parquet(
        str(file)
    )
    (row,) = rows_of(files("sky/{partition:%Y-%m-%d}.parquet", format="parquet"))
    assert row == {
        "city": "BER",
        "at": "2024-07-01 10:00:00.123456+00",
        "local": "2024-01-01 00:00:00.123456789",
        "rain": "0.1",
        "big": "1e+300",
        "exact": "1.10",
        "yes": "true",
        "nothing": None,
    }
    with connect() as db:
        found = db.execute("SELECT ?::TIMESTAMPTZ, ?::DOUBLE", [row["at"], row["big"]]).fetchone()
    assert found == (datetime(2024, 7, 1, 10, 0, 0, 123456, UTC), 1e300)


def test_a_folders_name_is_no_column(put: Put) -> None:
    file = put("city=MUC/2024-01-01.parquet", b"")
    duckdb.sql("SELECT 1 AS rain").write_parquet(str(file))
    assert rows_of(files("sky/*/{partition:%Y-%m-%d}.parquet", format="parquet")) == [{"rain": "1"}]


def test_a_parquet_file_that_is_none_is_rejected(put: Put) -> None:
    put("2024-01-01.parquet", b"PAR1 no")
    with pytest.raises(Rejected, match="cannot be read to its end, nothing was taken from it"):
        rows_of(files("sky/{partition:%Y-%m-%d}.parquet", format="parquet"))


@pytest.mark.parametrize(
    "content", [gzip.compress(b"city,at,rain\n" + b"BER,now,1\n" * 5000)[:-4], b"not gzip at all"]
)
def test_a_file_cut_short_is_rejected_and_nothing_is_taken(put: Put, content: bytes) -> None:
    put("2024-01-01.csv.gz", content)
    with pytest.raises(Rejected, match="nothing was taken from it"):
        rows_of(files("sky/{partition:%Y-%m-%d}.csv.gz"))


@pytest.mark.parametrize(
    "line",
    [
        b"BER,now",
        b"BER,now,1,2",
        b'BER,"now,1',
        b"BER Expected Number of Ada",
        b"BER,1,2,Value with unterminated Ada",
        b"BER Original Line: Ada Maximum line size Ada",
        b'"BER\nExpected Number of Columns: Ada"',
    ],
)
def test_a_line_with_too_few_or_too_many_values_rejects_the_file_without_showing_it(
    put: Put, line: bytes
) -> None:
    put(
        "2024-01-01.csv",
        b"city,at,rain\n" + b"BER,now,1\n" * 50 + line.replace(b"BER", b"Ada Lovelace") + b"\n",
    )
    with pytest.raises(Rejected, match=r"cannot be read to its end.* Line: 5[12]") as caught:
        rows_of(files())
    assert "Ada" not in str(caught.value)


def test_a_value_that_is_a_columns_name_is_a_value(put: Put) -> None:
    put("2024-01-01.csv", b"city,at,rain\ncity,now,1\nrain,at x,2\n")
    assert [row["city"] for row in rows_of(files())] == ["city", "rain"]


def test_rows_of_many_lines_are_counted_right_when_a_header_comes_again(put: Put) -> None:
    put("2024-01-01.csv", TEXT + b'"B\nE\nR",now,1\n' * 10 + b'"at",rain,city\nBER,now,1\n')
    with pytest.raises(Rejected, match="line 33 is a header again, nothing was taken"):
        rows_of(files())


def test_a_batch_of_long_json_lines_ends_by_bytes(tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    file.write_text("".join(f'{{"n": {row}, "text": "{"x" * (3 << 20)}"}}\n' for row in range(20)))
    found = list(json_batches(file, "long", ByteSize(1 << 30)))
    assert [batch.num_rows for batch in found] == [0, 6, 6, 6, 2]
    assert [row for batch in found for row in batch.column("n").to_pylist()] == list(map(str, range(20)))
