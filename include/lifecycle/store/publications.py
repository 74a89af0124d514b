"""How often was a partition published? Delta counts it, as transactions of a writer of its own."""

from __future__ import annotations

from types import EllipsisType

from deltalake import DeltaTable, Transaction


def partition_writer(partition: str) -> str:
    """Under what name Delta counts the publications of a partition."""
    return f"partition {partition}"


def number_of(table: DeltaTable, partition: str, over: str | EllipsisType | None = ...) -> int:
    """The number of the publication that is named, else of the newest; 0 for none."""
    if isinstance(over, EllipsisType):
        return table.transaction_version(partition_writer(partition)) or 0
    return int(over or 0)


def next_after(partition: str, number: int) -> Transaction:
    """What the next publication writes into the log: of two writers of one number the second fails."""
    return Transaction(partition_writer(partition), number + 1)
