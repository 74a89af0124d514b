"""Turns staged text into typed columns; what cannot be turned is named, never dropped."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from include.lifecycle.spec.dataset import ColumnType, DatasetSpec
from include.lifecycle.store.scan import connect

_SQL: dict[ColumnType, str] = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
}
_ARROW: dict[ColumnType, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def arrow_schema(spec: DatasetSpec) -> pa.Schema:
    """The published table's columns and types."""
    return pa.schema([(name, _ARROW[column.type]) for name, column in spec.columns.items()])


def typed(spec: DatasetSpec, staged: Path) -> tuple[pd.DataFrame, pd.Series]:
    """The staged rows with their types, and per row what is wrong with its first faulty column: text
    that is not of the column's type, or nothing where the row's key or event time should be.

    The second is a string Series, missing where the row is fine.
    """
    casts = ", ".join(
        f'TRY_CAST("{name}" AS {_SQL[column.type]}) AS "{name}"' for name, column in spec.columns.items()
    )
    broken = " ".join(_faults(spec, name, column.type) for name, column in spec.columns.items())
    with connect() as db:
        rows = db.sql(
            f"SELECT {casts}, CASE {broken} END AS _broken FROM read_parquet('{staged}')"
        ).to_arrow_table()
    frame = rows.drop_columns(["_broken"]).to_pandas()
    return frame, rows.column("_broken").to_pandas()


def _faults(spec: DatasetSpec, name: str, kind: ColumnType) -> str:
    """SQL cases for what is wrong with a column; a whole number is never rounded from a fraction."""
    cast = f'TRY_CAST("{name}" AS {_SQL[kind]})'
    wrong = f"{cast} IS NULL"
    if kind == "integer":
        wrong += f' OR TRY_CAST("{name}" AS DOUBLE) <> {cast}'
    if kind in ("number", "timestamp"):
        wrong += f" OR isinf({cast})"
    cases = f"WHEN \"{name}\" IS NOT NULL AND ({wrong}) THEN 'type {kind}: {name}'"
    if name in (*spec.key, spec.event_time):
        cases += f" WHEN \"{name}\" IS NULL THEN 'missing: {name}'"
    return cases
