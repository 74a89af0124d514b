"""Takes rows out of a Delta table for good: out of its newest version, and out of its old files."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.transaction import AddAction, RemoveAction
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from include.lifecycle.errors import Transient
from include.lifecycle.store.data_files import DataFile, adding, data_files, labels_of, removing
from include.lifecycle.store.lake import PARTITION, Table
from include.lifecycle.store.objects import Store
from include.lifecycle.store.publications import partition_writer
from include.lifecycle.store.scratch import scratch_folder

_ATTEMPTS = 20


class Rows(Protocol):
    """Which rows are meant."""

    def count_in(self, file: Path) -> int:
        """How many of them a Parquet file holds."""

    def without(self, file: Path, rest: Path) -> int:
        """Write a file without them; returns how many there were."""


def files_with(rows: Rows, table: Table, store: Store) -> dict[str, int]:
    """Paths, in the table's folder, of all data files that hold such rows, old versions' files too; and
    how many of the rows are in the newest version."""
    found, newest = {}, files_of(table)
    with scratch_folder("forget") as folder:
        scratch = folder / "data.parquet"
        for path in store.list(table.path):
            name = path.removeprefix(f"{table.path}/")
            if name.startswith("_delta_log/") or not name.endswith(".parquet"):
                continue
            if store.copy_out(path, scratch) and (count := rows.count_in(scratch)):
                found[name] = count if name in newest else 0
    return found


def files_of(table: Table, version: int | None = None) -> set[str]:
    """Paths of the data files that a version (default: the newest) is made of."""
    with table.opened(version) as delta:
        return set() if delta is None else {unquote(item["path"]) for item in data_files(delta)}


def take_out(rows: Rows, table: Table, holding: Iterable[str], store: Store, why: str) -> None:
    """Commit the table's newest version without the rows, then remove every file that holds them.

    `holding` is what `files_with` found. Older versions that had the files cannot be read any more, and
    a publication of a partition that lost rows fails when it began before; run again after a crash, it
    goes on where it was.
    """
    again = Retrying(
        retry=retry_if_exception_type(Transient),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random(max=0.2),
        reraise=True,
    )
    holding = set(holding)
    with scratch_folder("forget") as folder:
        again(_commit_without, rows, table, holding, store, folder, why)
    for name in sorted(holding):
        store.remove(f"{table.path}/{name}")


def _commit_without(
    rows: Rows, table: Table, holding: set[str], store: Store, folder: Path, why: str
) -> None:
    """Put each file that holds the rows aside for one without; no commit may come between."""
    actions: list[AddAction | RemoveAction] = []
    with table.opened() as delta:
        if delta is None:
            return
        partitions = set()
        for item in data_files(delta):
            if unquote(item["path"]) in holding:
                actions += [_rewritten(rows, item, table, store, folder), removing(item)]
                partitions.add(partition_writer(item[f"partition.{PARTITION}"]))
        if actions:
            delta.create_write_transaction(
                actions,
                mode="append",
                schema=delta.schema(),
                partition_by=delta.metadata().partition_columns,
                commit_properties=CommitProperties(
                    custom_metadata={"run_key": why},
                    app_transactions=_next_publications(delta, partitions),
                    max_commit_retries=0,
                ),
            )


def _next_publications(delta: DeltaTable, partitions: set[str]) -> list[Transaction]:
    """Count the rewriting as a publication, so that none that has read the rows before comes after it."""
    numbers = {name: delta.transaction_version(name) for name in sorted(partitions)}
    return [Transaction(name, number + 1) for name, number in numbers.items() if number is not None]


def _rewritten(rows: Rows, item: DataFile, table: Table, store: Store, folder: Path) -> AddAction:
    whole, rest = folder / "whole.parquet", folder / "rest.parquet"
    old = unquote(item["path"])
    store.copy_out(f"{table.path}/{old}", whole)
    rows.without(whole, rest)
    path = f"{old.rpartition('/')[0]}/{uuid.uuid4().hex}.parquet"
    store.copy_in(rest, f"{table.path}/{path}", f"table {table.name}")
    with pq.ParquetFile(rest) as parquet:
        count = parquet.metadata.num_rows
    quoted = f"{item['path'].rpartition('/')[0]}/{path.rpartition('/')[2]}"
    return adding(quoted, rest.stat().st_size, labels_of(item), count)
