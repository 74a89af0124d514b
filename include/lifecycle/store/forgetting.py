"""Takes rows out of a Delta table for good: out of its newest version, and out of its old files."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.transaction import AddAction, RemoveAction
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from include.lifecycle.errors import Transient
from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import Store

_ATTEMPTS = 20


class Rows(Protocol):
    """Which rows are meant."""

    def is_in(self, file: Path) -> bool:
        """Whether a Parquet file holds one of them."""

    def without(self, file: Path, rest: Path) -> int:
        """Write a file without them; returns how many there were."""


def files_with(rows: Rows, table: Table, store: Store) -> list[str]:
    """Paths, in the table's folder, of all data files that hold such rows, old versions' files too."""
    found = []
    with tempfile.TemporaryDirectory(prefix="forget-") as folder:
        scratch = Path(folder) / "data.parquet"
        for path in store.list(table.path):
            name = path.removeprefix(f"{table.path}/")
            if name.startswith("_delta_log/") or not name.endswith(".parquet"):
                continue
            if store.copy_out(path, scratch) and rows.is_in(scratch):
                found.append(name)
    return found


def files_of(table: Table, version: int | None = None) -> set[str]:
    """Paths of the data files that a version (default: the newest) is made of."""
    with table.opened(version) as delta:
        return set() if delta is None else {unquote(item["path"]) for item in _adds(delta)}


def take_out(rows: Rows, table: Table, holding: Iterable[str], store: Store, why: str) -> int:
    """Commit the table's newest version without the rows, then remove every file that holds them.

    `holding` is what `files_with` found. Returns how many rows the newest version lost. Older versions
    that had the files cannot be read any more; run again after a crash, it goes on where it was.
    """
    again = Retrying(
        retry=retry_if_exception_type(Transient),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random(max=0.2),
        reraise=True,
    )
    holding = set(holding)
    with tempfile.TemporaryDirectory(prefix="forget-") as folder:
        gone: int = again(_commit_without, rows, table, holding, store, Path(folder), why)
    for name in sorted(holding):
        store.remove(f"{table.path}/{name}")
    return gone


def _commit_without(rows: Rows, table: Table, holding: set[str], store: Store, folder: Path, why: str) -> int:
    """Put each file that holds the rows aside for one without; no commit may come between."""
    gone = 0
    actions: list[AddAction | RemoveAction] = []
    with table.opened() as delta:
        if delta is None:
            return 0
        for item in _adds(delta):
            if unquote(item["path"]) in holding:
                add, count = _rewritten(rows, item, table, store, folder)
                actions += [add, _removal(item)]
                gone += count
        if actions:
            delta.create_write_transaction(
                actions,
                mode="append",
                schema=delta.schema(),
                partition_by=delta.metadata().partition_columns,
                commit_properties=CommitProperties(custom_metadata={"run_key": why}, max_commit_retries=0),
            )
    return gone


def _rewritten(
    rows: Rows, item: dict[str, Any], table: Table, store: Store, folder: Path
) -> tuple[AddAction, int]:
    whole, rest = folder / "whole.parquet", folder / "rest.parquet"
    old = unquote(item["path"])
    store.copy_out(f"{table.path}/{old}", whole)
    gone = rows.without(whole, rest)
    path = f"{old.rpartition('/')[0]}/{uuid.uuid4().hex}.parquet"
    store.copy_in(rest, f"{table.path}/{path}", f"table {table.name}")
    with pq.ParquetFile(rest) as parquet:
        statistics = f'{{"numRecords":{parquet.metadata.num_rows}}}'
    quoted = f"{item['path'].rpartition('/')[0]}/{path.rpartition('/')[2]}"
    add = AddAction(quoted, rest.stat().st_size, _labels(item), _now(), True, statistics)
    return add, gone


def _removal(item: dict[str, Any]) -> RemoveAction:
    return RemoveAction(
        item["path"],
        data_change=True,
        deletion_timestamp=_now(),
        size=item["size_bytes"],
        partition_values=_labels(item),
    )


def _labels(item: dict[str, Any]) -> dict[str, str | None]:
    return {
        name.removeprefix("partition."): value
        for name, value in item.items()
        if name.startswith("partition.")
    }


def _adds(delta: DeltaTable) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
    return found


def _now() -> int:
    return time.time_ns() // 1_000_000
