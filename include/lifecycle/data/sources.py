"""Reads a partition from its source into staging, every value still as the source wrote it."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from pathlib import Path

import duckdb

from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec, FilesSource, nearest

_READERS = {
    "csv": "read_csv({files}, all_varchar=true, header=true, delim=',', quote='\"', escape='\"', "
    "null_padding=false, union_by_name=true)",
    "parquet": "read_parquet({files}, union_by_name=true)",
    "jsonl": "read_json({files}, format='newline_delimited', union_by_name=true)",
}


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
        with file.open("rb") as opened:
            digest.update(f"{file.name}\0{hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def stage(spec: DatasetSpec, files: list[Path], staged: Path) -> int:
    """Write the rows of files to one Parquet file, all columns as text; returns the row count.

    Raises Rejected when a file cannot be read whole or its header lacks a column.
    """
    reader = _READERS[spec.source.format].format(files=_literal(files))
    with duckdb.connect() as db:
        try:
            _check_header(spec, db, reader, files)
            columns = ", ".join(f'CAST("{name}" AS VARCHAR) AS "{name}"' for name in spec.columns)
            db.execute(f"COPY (SELECT {columns} FROM {reader}) TO '{staged}' (FORMAT parquet)")
            (rows,) = db.execute(f"SELECT count(*) FROM read_parquet('{staged}')").fetchall()[0]
        except duckdb.Error as error:
            raise Rejected(_unreadable(files, error)) from None
    if not rows:
        raise Rejected(
            f"{_names(files)}: no rows; if the source had none on that day, leave the partition out, "
            "otherwise deliver the file again and clear this task"
        )
    return int(rows)


def _check_header(spec: DatasetSpec, db: duckdb.DuckDBPyConnection, reader: str, files: list[Path]) -> None:
    described = db.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()
    found = [row[0] for row in described]
    if missing := [name for name in spec.columns if name not in found]:
        raise Rejected(
            f"{_names(files)}: the header lacks {missing}{nearest(missing[0], found)} "
            f"(found: {', '.join(found)}); mend the file or the columns in {spec.name}.yaml"
        )


def _unreadable(files: list[Path], error: duckdb.Error) -> str:
    reason = str(error).splitlines()[0]
    return (
        f"{_names(files)}: cannot be read to its end, nothing was taken from it ({reason}); "
        "deliver the file again, then clear this task"
    )


def _names(files: list[Path]) -> str:
    return ", ".join(str(file) for file in files)


def _literal(files: list[Path]) -> str:
    quoted = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
    return f"[{quoted}]"
