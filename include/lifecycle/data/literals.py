"""How names and values are written as SQL."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from include.lifecycle.spec.dataset import ColumnType

NUMERIC: tuple[ColumnType, ...] = ("integer", "number")


class NotCompiled(Exception):
    """SQL would not be sure to say the same as Great Expectations; the message says why."""


def quoted(name: str) -> str:
    """A column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as SQL."""
    return "'" + value.replace("'", "''") + "'"


def literal(value: Any, kind: ColumnType) -> str:
    """A value as SQL of a column's type; raises NotCompiled when it has another type."""
    if kind == "string" and isinstance(value, str) and "\0" not in value:
        return text(value)
    if kind in NUMERIC and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return str(value)
    if kind in NUMERIC and isinstance(value, float) and math.isfinite(value):
        return f"{value!r}::DOUBLE"
    if kind == "boolean" and isinstance(value, bool):
        return str(value)
    if kind == "timestamp":
        return _moment(value)
    raise NotCompiled(f"{value!r} for a {kind}")


def moment_of(value: Any) -> datetime | None:
    """The moment that a rule's argument is, or says as text; None where it is none."""
    # As Great Expectations reads them; its stubs are not installed.
    from dateutil.parser import ParserError, parse  # type: ignore[import-untyped]

    try:
        moment = parse(value) if isinstance(value, str) else value
    except (ParserError, OverflowError):
        return None
    return moment if isinstance(moment, datetime) else None


def _moment(value: Any) -> str:
    moment = moment_of(value)
    if moment is None or moment.tzinfo is None:
        raise NotCompiled(f"{value!r} is no moment with an offset")
    return f"TIMESTAMPTZ '{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00'"
