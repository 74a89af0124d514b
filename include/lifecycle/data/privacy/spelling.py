"""Spells what a source wrote the one way that a column's type has: 042 and 42 are one number."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from include.lifecycle.data.types import cast
from include.lifecycle.spec.dataset import ColumnType
from include.lifecycle.store.scan import connect


def spelling(kind: ColumnType) -> str:
    """SQL of the one spelling of a column `v`; NULL where it is missing or not of the type."""
    return f"CAST({cast('v', kind)} AS VARCHAR)"


def spelled(words: Iterable[str | None] | pa.Array, kind: ColumnType) -> list[str | None]:
    """The words in their type's spelling; one that is not of the type stays as it is."""
    given = words if isinstance(words, pa.Array) else pa.array(words, pa.string())
    if kind == "string":
        return list(given.to_pylist())
    with connect() as db:
        db.register("given", pa.table({"v": given}))
        found = db.sql(f"SELECT coalesce({spelling(kind)}, v) AS v FROM given").to_arrow_table()
    return list(found.column("v").to_pylist())
