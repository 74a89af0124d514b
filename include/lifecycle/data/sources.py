"""Reads a partition from its source into staging, every value still as the source wrote it."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.nearest import nearest
from include.lifecycle.spec.source import FilesSource
from include.lifecycle.store.objects import is_full

# Nothing is guessed: DuckDB's detection takes lines of a CSV for comments, or skips them.
_READERS = {
    "csv": "read_csv({file}, auto_detect=false, header=true, columns={columns}, delim=',', "
    "quote='\"', escape='\"')",
    "parquet": "read_parquet({file})",
    "jsonl": "read_json({file}, format='newline_delimited')",
}
_CHUNK = 1 << 20


def landing_folder() -> Path:
    """Where relative source paths start: PERENNIAL_LANDING, or `landing` in PERENNIAL_HOME."""
    home = os.environ.get("PERENNIAL_HOME") or Path(__file__).resolve().parents[3] / ".perennial"
    return Path(os.environ.get("PERENNIAL_LANDING") or Path(home) / "landing")


def source_files(source: FilesSource, start: datetime) -> list[Path]:
    """The files of the partition that starts at `start`; raises Rejected when there is none."""
    pattern = landing_folder() / source.path.format(partition=start)
    files = sorted(pattern.parent.glob(pattern.name))
    if not files:
        raise Rejected(
            f"no file {pattern}: the partition of {start:%Y-%m-%d %H:%M} has not arrived; "
            "put the file there, then clear this task"
        )
    return files


def fingerprint(files: list[Path]) -> str:
    """sha256 over names and bytes of files: what an extraction depends on."""
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
        except (PermissionError, IsADirectoryError) as error:
            raise Rejected(
                f"{file}: cannot be opened ({error.strerror}); make it a file that "
                "this user may read, then clear this task"
            ) from None
        except OSError as error:
            raise Transient(f"{file}: cannot be read now ({error.strerror}); then clear this task") from None
        digest.update(f"{file.name}\0{content}\n".encode())
    return digest.hexdigest()


def stage(spec: DatasetSpec, files: list[Path], staged: Path) -> int:
    """Write the rows of files to one Parquet file, all columns as text; returns the row count.

    Raises Rejected when a file cannot be read whole or its header lacks a column.
    """
    with duckdb.connect() as db:
        try:
            tables = " UNION ALL ".join(_table(spec, file, db) for file in files)
            db.execute(f"COPY ({tables}) TO '{staged}' (FORMAT parquet)")
            (rows,) = db.execute(f"SELECT count(*) FROM read_parquet('{staged}')").fetchall()[0]
        except (duckdb.Error, OSError) as error:
            if is_full(error):
                raise Transient(f"no space left for {staged}: free space, then clear this task") from None
            raise Rejected(_unreadable(files, error)) from None
    if not rows:
        raise Rejected(
            f"{_names(files)}: no rows; if the source had none on that day, leave the partition out, "
            "otherwise deliver the file again and clear this task"
        )
    return int(rows)


def _table(spec: DatasetSpec, file: Path, db: duckdb.DuckDBPyConnection) -> str:
    """SQL for the columns of one file as text, after its bytes and its header were checked."""
    _check_bytes(spec.source, file)
    literal = "'" + str(file).replace("'", "''") + "'"
    if spec.source.format == "csv":
        found = _csv_header(file)
        columns = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(found)))
        reader = _READERS["csv"].format(file=literal, columns=f"{{{columns}}}")
    else:
        reader = _READERS[spec.source.format].format(file=literal)
        found = [row[0] for row in db.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()]
    _check_header(spec, file, found)
    named = (f"c{found.index(name)}" if spec.source.format == "csv" else name for name in spec.columns)
    columns = ", ".join(
        f'CAST("{column}" AS VARCHAR) AS "{name}"' for column, name in zip(named, spec.columns, strict=True)
    )
    return f"SELECT {columns} FROM {reader}"


def _check_bytes(source: FilesSource, file: Path) -> None:
    """Unpack a file to its end, checksum included; raises OSError, or Rejected when it is too large."""
    size = 0
    with pa.input_stream(str(file), compression="detect") as opened:
        while chunk := opened.read(_CHUNK):
            size += len(chunk)
            if size > source.max_size:
                raise Rejected(
                    f"{file}: larger than source.max_size ({source.max_size.human_readable()}) unpacked; "
                    "raise max_size if the file is right, then clear this task"
                )


def _csv_header(file: Path) -> list[str]:
    with pa.input_stream(str(file), compression="detect") as opened:
        text = io.TextIOWrapper(opened, encoding="utf-8-sig", errors="replace", newline="")
        return next(csv.reader(text), [])


def _check_header(spec: DatasetSpec, file: Path, found: list[str]) -> None:
    mend = f"(found: {', '.join(found) or 'nothing'}); mend the file or the columns in {spec.name}.yaml"
    if missing := [name for name in spec.columns if name not in found]:
        raise Rejected(f"{file}: the header lacks {missing}{nearest(missing[0], found)} {mend}")
    if twice := [name for name in spec.columns if found.count(name) > 1]:
        raise Rejected(f"{file}: the header names {twice} twice {mend}")


def _unreadable(files: list[Path], error: Exception) -> str:
    reason = " ".join(str(error).split("\n\n")[0].split("Possible")[0].split())[:300]
    return (
        f"{_names(files)}: cannot be read to its end, nothing was taken from it ({reason}); "
        "deliver the file again, then clear this task"
    )


def _names(files: list[Path]) -> str:
    return ", ".join(str(file) for file in files)
