import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.lifecycle.data.sources.batches import text_batch, text_schema
from include.lifecycle.data.staging import Staged, stage
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from tests.lifecycle.data.sources.reading import dataset

ROOT = Path(__file__).resolve().parents[3]
FILES = {"type": "files", "path": "sky/{partition:%Y-%m-%d}.csv"}
HEADER = ["city", "at", "rain"]


def batch(
    names: list[str], *rows: list[str | None], origin: str = "a.csv", part: str = "header"
) -> pa.RecordBatch:
    columns = [list(column) for column in zip(*rows, strict=True)]
    return text_batch(text_schema(names, origin, part), columns)


def staged(
    tmp_path: Path, spec: DatasetSpec, *batches: pa.RecordBatch, **more: Any
) -> tuple[Staged, list[dict[str, str | None]]]:
    done = stage(spec, iter(batches), tmp_path / "staged", **more)
    return done, pq.read_table(tmp_path / "staged").to_pylist()


def policy(**changes: str) -> DatasetSpec:
    return dataset(FILES, schema_changes=changes)


def test_the_columns_of_the_spec_are_staged_in_its_order(tmp_path: Path) -> None:
    found = batch(["rain", "more", "city", "at"], ["1,5", "x", "BER", "soon"], [None, "y", 'a "b"', "now"])
    done, rows = staged(tmp_path, dataset(FILES), found)
    assert done == Staged(rows=2, suppressed=0, added=())
    assert [list(row.values()) for row in rows] == [["BER", "soon", "1,5"], ['a "b"', "now", None]]
    assert list(rows[0]) == HEADER


def test_a_missing_column_stops_the_partition_and_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        Rejected, match=r"a.csv: the header lacks \['rain'\]; did you mean 'rian'\? .*sky.yaml"
    ):
        staged(tmp_path, dataset(FILES), batch(["city", "at", "rian"], ["BER", "now", "1"]))


def test_a_missing_column_is_filled_with_nothing_where_the_policy_says_so(tmp_path: Path) -> None:
    _, rows = staged(tmp_path, policy(missing="fill"), batch(["city", "at"], ["BER", "now"]))
    assert rows == [{"city": "BER", "at": "now", "rain": None}]


@pytest.mark.parametrize("column", ["city", "at"])
def test_neither_key_nor_event_time_is_ever_filled(tmp_path: Path, column: str) -> None:
    names = [name for name in HEADER if name != column]
    with pytest.raises(Rejected, match=f"lacks \\['{column}'\\]"):
        staged(tmp_path, policy(missing="fill"), batch(names, ["x", "y"]))


def test_a_new_column_stops_the_partition_where_the_policy_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        Rejected, match=r"new columns \['wind'\], and schema_changes.new is stop; add them to sky.yaml"
    ):
        staged(tmp_path, policy(new="stop"), batch([*HEADER, "wind"], ["BER", "now", "1", "5"]))


def test_a_new_column_is_added_as_text_where_the_policy_says_so(tmp_path: Path) -> None:
    one = batch([*HEADER, "wind"], ["BER", "now", "1", "5"])
    other = batch(HEADER, ["MUC", "now", "2"], origin="b.csv")
    done, rows = staged(tmp_path, policy(new="add"), one, other)
    assert done.added == ("wind",)
    assert [row["wind"] for row in rows] == ["5", None]


def test_an_added_column_that_only_later_files_have_is_rejected(tmp_path: Path) -> None:
    one = batch(HEADER, ["BER", "now", "1"])
    other = batch([*HEADER, "wind"], ["MUC", "now", "2", "5"], origin="b.csv")
    with pytest.raises(
        Rejected, match=r"b.csv: the header has new columns \['wind'\], which what came before"
    ):
        staged(tmp_path, policy(new="add"), one, other)


@pytest.mark.parametrize("name", ["Net Price", "", "_partition", "x" * 80])
def test_an_added_column_needs_a_name_that_a_column_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(Rejected, match="which cannot be added"):
        staged(tmp_path, policy(new="add"), batch([*HEADER, name], ["BER", "now", "1", "5"]))


def test_a_column_named_twice_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"the header names \['rain'\] twice"):
        staged(tmp_path, dataset(FILES), batch([*HEADER, "rain"], ["BER", "now", "1", "5"]))


def test_a_dropped_column_is_seen_by_the_treatment_and_never_staged(tmp_path: Path) -> None:
    columns = {"city": "string", "at": "timestamp", "name": {"type": "string", "privacy": "drop"}}
    spec = dataset(FILES, columns=columns)
    seen: list[list[str]] = []

    def treat(rows: pa.RecordBatch) -> pa.RecordBatch:
        seen.append(rows.schema.names)
        return rows.filter(pa.array([name != "Ada" for name in rows.column("name").to_pylist()]))

    found = batch(["city", "at", "name"], ["BER", "now", "Ada"], ["MUC", "now", "Bob"])
    done, rows = staged(tmp_path, spec, found, treat=treat)
    assert seen == [["city", "at", "name"]]
    assert rows == [{"city": "MUC", "at": "now"}]
    assert (done.rows, done.suppressed) == (2, 1)
    without = batch(["city", "at"], ["BER", "now"])
    assert staged(tmp_path, spec, without)[1] == [{"city": "BER", "at": "now"}]


def test_what_may_be_a_persons_row_is_not_shown_in_place_of_a_header(tmp_path: Path) -> None:
    columns = {"city": "string", "at": "timestamp", "name": {"type": "string", "privacy": "drop"}}
    with pytest.raises(Rejected, match="lacks") as caught:
        staged(
            tmp_path, dataset(FILES, columns=columns), batch(["BER", "now", "Ada Lovelace"], ["x", "y", "z"])
        )
    assert "Ada" not in str(caught.value)


@pytest.mark.parametrize("batches", [[], [batch(HEADER)], [batch([], part="answer", origin="an API")]])
def test_a_source_without_rows_is_rejected(tmp_path: Path, batches: list[pa.RecordBatch]) -> None:
    with pytest.raises(Rejected, match="no rows; if there may be none, write empty: publish"):
        staged(tmp_path, dataset(FILES), *batches)


@pytest.mark.parametrize("batches", [[], [batch(HEADER)]])
def test_a_source_that_may_have_no_rows_is_staged_without_any(
    tmp_path: Path, batches: list[pa.RecordBatch]
) -> None:
    done, rows = staged(tmp_path, dataset(FILES, empty="publish"), *batches)
    assert (done.rows, rows) == (0, [])


@pytest.mark.parametrize("size", [1, 7, 8192])
def test_row_groups_are_the_same_whatever_the_batches_were(tmp_path: Path, size: int) -> None:
    def batches(size: int) -> Iterator[pa.RecordBatch]:
        table = pa.table({name: pa.array([f"{name}{row}" for row in range(130_000)]) for name in HEADER})
        yield from table.to_batches(max_chunksize=size * 1000)

    stage(dataset(FILES), batches(size), tmp_path / "staged")
    stage(dataset(FILES), batches(130), tmp_path / "whole")
    assert (tmp_path / "staged").read_bytes() == (tmp_path / "whole").read_bytes()
    groups = pq.ParquetFile(tmp_path / "staged").metadata
    assert [groups.row_group(place).num_rows for place in range(groups.num_row_groups)] == [122_880, 7_120]


@pytest.mark.parametrize("size", [1, 37, 1000])
def test_row_groups_end_by_bytes_too_whatever_the_batches_were(tmp_path: Path, size: int) -> None:
    wide = "ä" * ((1 << 18) - 4)
    cells = [f"{row:08}{wide}" for row in range(150)]  # half a MB
    nothing = pa.nulls(len(cells), pa.string())
    table = pa.table({"city": pa.array(cells), "at": pa.array(cells), "rain": nothing})
    stage(dataset(FILES), iter(table.to_batches(max_chunksize=size)), tmp_path / "staged")
    stage(dataset(FILES), iter(table.to_batches(max_chunksize=11)), tmp_path / "whole")
    assert (tmp_path / "staged").read_bytes() == (tmp_path / "whole").read_bytes()
    groups = pq.ParquetFile(tmp_path / "staged").metadata
    assert [groups.row_group(place).num_rows for place in range(groups.num_row_groups)] == [64, 64, 22]
    assert pq.read_table(tmp_path / "staged", columns=["city"]).column(0).to_pylist() == cells


MEASURE = """
import resource, sys
from pathlib import Path
from include.lifecycle.data.staging import stage
from include.lifecycle.store.connections import Connection
from tests.lifecycle.data.sources.reading import dataset, opened
from tests.servers import only

spec = dataset({"type": "files", "path": sys.argv[1] + "/{partition:%Y-%m-%d}.csv"})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
done = stage(spec, opened(spec, only(Connection())).batches(), Path(sys.argv[1]) / "staged")
print(done.rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """2 million rows (90 MB of CSV, 200 MB as Arrow) need little more than 200,000."""
    script, grown = tmp_path / "measure.py", {}
    script.write_text(MEASURE)
    for rows in (200_000, 2_000_000):
        some = "\n".join(
            f"city-{row:06},2024-01-01T00:00:{row % 60:02}Z,{row / 7:.3f}" for row in range(100_000)
        )
        with (tmp_path / "2024-01-01.csv").open("w") as file:
            file.write("city,at,rain\n")
            file.writelines(some + "\n" for _ in range(rows // 100_000))
        done = subprocess.run(
            [sys.executable, script, tmp_path],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        count, grown[rows] = map(int, done.stdout.split())
        assert count == rows
    assert grown[2_000_000] < 200
    assert grown[2_000_000] < grown[200_000] + 60
