"""The data files of a Delta table as its log names them, and the actions that add and remove them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

_LABEL = "partition."
DataFile = dict[str, Any]
"""`path` as the log writes it, `size_bytes`, `num_records`, and `partition.<column>` for each label."""


def data_files(table: DeltaTable) -> list[DataFile]:
    """The files that the opened version is made of."""
    found: list[DataFile] = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return found


def labels_of(file: DataFile) -> dict[str, str | None]:
    """The values of the partition columns."""
    return {name.removeprefix(_LABEL): value for name, value in file.items() if name.startswith(_LABEL)}


def adding(path: str, size: int, labels: Mapping[str, str | None], rows: int) -> AddAction:
    """The action that adds a file of so many bytes and rows; the log learns no values of theirs."""
    return AddAction(path, size, dict(labels), _now(), True, f'{{"numRecords":{rows}}}')


def removing(file: DataFile) -> RemoveAction:
    """The action that leaves a file out of the next version."""
    return RemoveAction(
        file["path"],
        data_change=True,
        deletion_timestamp=_now(),
        size=file["size_bytes"],
        partition_values=labels_of(file),
    )


def _now() -> int:
    """Milliseconds since 1970, as Delta counts."""
    return time.time_ns() // 1_000_000
