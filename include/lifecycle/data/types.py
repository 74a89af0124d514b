"""Turns staged text into typed columns; what cannot be turned is named, never dropped."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from include.lifecycle.data.literals import quoted
from include.lifecycle.spec.dataset import ColumnType, DatasetSpec

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
    return arrow_types({name: column.type for name, column in spec.published.items()})


def arrow_types(kinds: Mapping[str, ColumnType]) -> pa.Schema:
    """Arrow's types of some columns."""
    return pa.schema([(name, _ARROW[kind]) for name, kind in kinds.items()])


def cast(name: str, kind: ColumnType) -> str:
    """SQL that turns a column's text into its type; NULL where it is missing or not of the type.

    A whole number is never rounded from a fraction; a number that is not finite is none.
    """
    column = quoted(name)
    turned = f"TRY_CAST({column} AS {_SQL[kind]})"
    if kind == "string":
        return column
    if kind == "integer":
        return f"CASE WHEN TRY_CAST({column} AS DOUBLE) = {turned} THEN {turned} END"
    if kind in ("number", "timestamp"):
        return f"CASE WHEN isfinite({turned}) THEN {turned} END"
    return turned


def faults(spec: DatasetSpec, kinds: Mapping[str, ColumnType]) -> dict[str, str]:
    """What may be wrong with a row, and SQL that is true where it is: text that is not of the column's
    type, or nothing where the row's key or event time should be."""
    found = {}
    for name, kind in kinds.items():
        if kind != "string":
            found[f"type {kind}: {name}"] = _is_wrong(name, kind)
        if name in (*spec.key, spec.event_time):
            found[f"missing: {name}"] = f"{quoted(name)} IS NULL"
    return found


def _is_wrong(name: str, kind: ColumnType) -> str:
    """Whether a text is not of a type; `nan` is a number's way to say that it is missing.

    DuckDB computes it once per different text, as long as it names one column and no CASE.
    """
    column = quoted(name)
    turned = f"TRY_CAST({column} AS {_SQL[kind]})"
    tests = {
        "integer": f"TRY_CAST({column} AS DOUBLE) <> {turned}",
        "number": f"isinf({turned})",
        "timestamp": f"isinf({turned})",
        "boolean": f"{turned} IS NULL AND {column} IS NOT NULL",
    }
    return f"coalesce({tests[kind]}, {column} IS NOT NULL)"
