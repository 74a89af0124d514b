"""Whether rows fit into a table: which columns are new, which types are wider, which cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from deltalake import Field, Schema
from deltalake.schema import PrimitiveType

from include.lifecycle.errors import Rejected

WIDER = {
    ("integer", "number"),
    ("integer", "string"),
    ("number", "string"),
    ("boolean", "string"),
    ("timestamp", "string"),
}
"""Types of a YAML that hold every value of another: (narrow, wide)."""
_NAMES = {"long": "integer", "double": "number"}


@dataclass(frozen=True)
class Change:
    """A column whose type differs, in the words of a dataset's YAML."""

    column: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"column {self.column} is {self.old} in the table and {self.new} now"

    @property
    def widens(self) -> bool:
        """Whether the new type holds every value of the old one."""
        return (self.old, self.new) in WIDER


def changed_types(table: Schema, rows: pa.Schema) -> list[Change]:
    """The columns that table and rows both have, with different types."""
    have = _types(table)
    wanted = _types(Schema.from_arrow(rows))
    return [Change(name, have[name], kind) for name, kind in wanted.items() if have.get(name, kind) != kind]


def require_fitting(name: str, table: Schema, rows: pa.Schema, *, widen: bool) -> None:
    """Raise Rejected when a column's type differs from the table's, unless it is wider and may `widen`."""
    cure = f"restore the type in {name}.yaml"
    for change in changed_types(table, rows):
        if not change.widens:
            raise Rejected(
                f"table {name}: {change}: {cure}, or give the dataset a new name and ingest it again"
            )
        if not widen:
            raise Rejected(
                f"table {name}: {change}: {cure}, or write schema_changes: {{widened: rewrite}} "
                "there to rewrite the table with the wider type"
            )


def new_columns(table: Schema, rows: pa.Schema) -> list[Field]:
    """The columns of the rows that the table lacks; old rows have nothing there."""
    have = _types(table)
    return [
        Field(field.name, field.type) for field in Schema.from_arrow(rows).fields if field.name not in have
    ]


def widened_schema(table: Schema, rows: pa.Schema) -> pa.Schema:
    """The table's columns, with the rows' types where both have one."""
    wanted: Mapping[str, pa.DataType] = {field.name: field.type for field in rows}
    return pa.schema(
        [(field.name, wanted.get(field.name, field.type)) for field in pa.schema(table.to_arrow())]
    )


def _types(schema: Schema) -> dict[str, str]:
    found = {}
    for field in schema.fields:
        kind = field.type.type if isinstance(field.type, PrimitiveType) else str(field.type)
        found[field.name] = _NAMES.get(kind, kind)
    return found
