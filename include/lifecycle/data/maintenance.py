"""Keeps a dataset's tables well: files joined, quarantine emptied in time, what models need kept."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from include.lifecycle.spec.value import Value
from include.lifecycle.store.lake import Table
from include.lifecycle.store.upkeep import compact, count_files, expire, vacuum

RETENTION = timedelta(days=7)
"""How long a version that no model is pinned on stays readable after it was replaced."""


class Upkeep(Value):
    """What was done to a table."""

    table: str
    files_before: int
    """Files of the newest version, before and after small ones were joined."""
    files_after: int
    expired_rows: int = 0
    """Rows that had been in quarantine for longer than allowed."""
    expired_outputs: int = 0
    """Objects that steps had kept of such rows: staged files, lists of bad rows, results of audits."""
    deleted_files: int = 0
    """Files of old versions that nobody needs any more."""
    freed_bytes: int = 0
    kept_versions: tuple[int, ...] = ()
    """Versions that registered models were trained on."""


def maintain(table: Table, pins: Iterable[int] = (), retention: timedelta = RETENTION) -> Upkeep:
    """Compact a table and delete files older than the retention that no pinned version needs.

    Every pinned version stays readable, and the log stays whole. Raises Transient when a pinned version
    cannot be read now, or when rows were replaced meanwhile: nothing was deleted then.
    """
    kept = tuple(sorted(set(pins)))
    before = count_files(table)
    compact(table)
    deleted, freed = vacuum(table, retention, kept)
    return Upkeep(
        table=table.name,
        files_before=before,
        files_after=count_files(table),
        deleted_files=deleted,
        freed_bytes=freed,
        kept_versions=kept,
    )


def maintain_quarantine(table: Table, keep: timedelta, now: datetime) -> Upkeep:
    """Delete the rows that have been in quarantine for too long, files and all; then maintain it."""
    before = count_files(table)
    expired, deleted, freed = expire(table, "at", now - keep)
    done = maintain(table)
    return done.model_copy(
        update={
            "files_before": before,
            "expired_rows": expired,
            "deleted_files": done.deleted_files + deleted,
            "freed_bytes": done.freed_bytes + freed,
        }
    )
