"""Keeps Delta tables small: joins files, drops rows that expired, deletes files that nobody needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from deltalake import DeltaTable, PostCommitHookProperties

from include.lifecycle.store.data_files import data_files, labels_of
from include.lifecycle.store.lake import PARTITION, Table

_MANY_FILES = 8
"""Fewer files in a partition are not worth a commit."""
_KEEP_LOG = PostCommitHookProperties(cleanup_expired_logs=False)


def compact(table: Table) -> int:
    """Join the small files of each partition, where one has many; returns how many were joined.

    Raises Transient when rows were replaced meanwhile.
    """
    with table.opened() as delta:
        if delta is None or max(_files_by_partition(delta).values(), default=0) < _MANY_FILES:
            return 0
        found = delta.optimize.compact(max_concurrent_tasks=1, post_commithook_properties=_KEEP_LOG)
        return int(found["numFilesRemoved"])


def expire(table: Table, column: str, before: datetime) -> tuple[int, int, int]:
    """Delete the rows whose time in a column is before a moment, and the files of all deleted rows.

    Returns the numbers of rows, of files and of their bytes. The files go at once, whoever reads them now.
    """
    moment = f"{before.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    with table.opened() as delta:
        if delta is None:
            return 0, 0, 0
        found = delta.delete(f"\"{column}\" < TIMESTAMP '{moment}'", post_commithook_properties=_KEEP_LOG)
        # Not a full vacuum: that would take the file of a publication that is about to commit.
        return int(found["num_deleted_rows"]), *_vacuum(table, delta, timedelta(0), [], full=False)


def vacuum(table: Table, retention: timedelta, keep_versions: Iterable[int]) -> tuple[int, int]:
    """Delete files that no version of the retention, and none of `keep_versions`, needs.

    Returns the number of files and their bytes. Nothing to delete makes no commit. The log stays whole.
    """
    with table.opened() as delta:
        if delta is None:
            return 0, 0
        newest = delta.version()
        kept = [item for item in keep_versions if item <= newest]
        return _vacuum(table, delta, retention, kept, full=True)


def count_files(table: Table) -> int:
    """How many files hold the newest version."""
    with table.opened() as delta:
        return 0 if delta is None else sum(_files_by_partition(delta).values())


def _vacuum(
    table: Table, delta: DeltaTable, retention: timedelta, keep: list[int], *, full: bool
) -> tuple[int, int]:
    hours = int(retention / timedelta(hours=1))

    def delete(*, dry_run: bool) -> list[str]:
        return delta.vacuum(
            hours,
            dry_run=dry_run,
            enforce_retention_duration=False,
            full=full,
            keep_versions=keep or None,
            post_commithook_properties=_KEEP_LOG,
        )

    before = table.files()
    # Delta names files that are gone already for as long as its log does, and would commit each time.
    if not any(unquote(name) in before for name in delete(dry_run=True)):
        return 0, 0
    delete(dry_run=False)
    gone = before.keys() - table.files().keys()
    return len(gone), sum(before[name] for name in gone)


def _files_by_partition(delta: DeltaTable) -> Counter[str]:
    return Counter(str(labels_of(file)[PARTITION]) for file in data_files(delta))
