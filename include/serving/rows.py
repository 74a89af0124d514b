"""Checks the rows of a request against a model's inputs: strictly typed, each error names the field."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from include.lifecycle.model.predictor import BadInput, Predictor

_INT64 = range(-(2**63), 2**63)
_MANY = 8
"""From so many values on a check of all at once is quicker than one after the other."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one request."""

    count: int
    typed: dict[str, Sequence[Any]]
    """The model's inputs as :meth:`Predictor.predict` takes them."""
    inputs: dict[str, list[Any]]
    """The same as they are logged: plain JSON values, timestamps with their zone."""
    keys: list[str | None] | None
    """What identifies each row, where the request says so."""
    event_times: list[datetime | None] | None
    """When each row happened, where the request says so."""


def wanted(predictor: Predictor) -> tuple[str, ...]:
    """The columns of a request that this server looks at, the model's inputs first."""
    return tuple(dict.fromkeys((*predictor.inputs, predictor.key, predictor.event_time)))


def check_rows(columns: Mapping[str, list[Any]], predictor: Predictor) -> Rows:
    """Columns of plain JSON values as checked rows; raises BadInput naming the field."""
    count = _count(columns, predictor)
    inputs, typed = {}, {}
    for name, kind in predictor.inputs.items():
        inputs[name] = checked = _CHECKS[kind](name, columns[name])
        typed[name] = _as_datetime64(checked) if kind == "timestamp" else checked
    return Rows(
        count,
        typed,
        inputs,
        _keys(columns, predictor.key),
        inputs.get(predictor.event_time) or _event_times(columns, predictor.event_time),
    )


def _count(columns: Mapping[str, list[Any]], predictor: Predictor) -> int:
    for name in predictor.inputs:
        if name not in columns:
            raise BadInput(f"{name}: missing; the model needs {', '.join(predictor.inputs)}")
    sizes = {name: len(values) for name, values in columns.items()}
    first, count = next(iter(sizes.items()))
    for name, size in sizes.items():
        if size != count:
            raise BadInput(f"{name}: {size} values, but {first} has {count}")
    if count == 0:
        raise BadInput(f"{first}: no rows; send at least one")
    return count


def _keys(columns: Mapping[str, list[Any]], name: str) -> list[str | None] | None:
    if name not in columns:
        return None
    for row, value in enumerate(columns[name]):
        if isinstance(value, (list, dict)):
            raise _wrong(name, row, value, "a key")
    return [None if value is None else str(value) for value in columns[name]]


def _event_times(columns: Mapping[str, list[Any]], name: str) -> list[datetime | None] | None:
    return _timestamps(name, columns[name]) if name in columns else None


def _numbers(name: str, values: list[Any]) -> list[Any]:
    if len(values) >= _MANY and _are_plain(values):
        return values
    checked = values
    for row, value in enumerate(values):
        kind = type(value)
        if kind is float:
            if not math.isfinite(value):
                raise BadInput(f"{name}: row {row}: {value} is not a finite number; use null for missing")
        elif kind is int:
            if value not in _INT64:
                # Beyond 64 bits a number travels as what the model makes of it: a float.
                checked = list(checked) if checked is values else checked
                checked[row] = _as_float(name, row, value)
        elif value is not None:
            raise _wrong(name, row, value, "a number")
    return checked


def _are_plain(values: list[Any]) -> bool:
    """Whether all are numbers that need no second look, or missing; a loop of C's, for many of them."""
    present = [value for value in values if value is not None]
    if not set(map(type, present)) <= {float, int}:
        return False
    return not present or (
        min(present) >= _INT64.start and max(present) < _INT64.stop and all(map(math.isfinite, present))
    )


def _as_float(name: str, row: int, value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise BadInput(f"{name}: row {row}: the number is too large") from None


def _integers(name: str, values: list[Any]) -> list[Any]:
    for row, value in enumerate(values):
        if type(value) is float and not value.is_integer():
            raise _wrong(name, row, value, "an integer")
    return _numbers(name, values)


def _booleans(name: str, values: list[Any]) -> list[Any]:
    for row, value in enumerate(values):
        if value is not None and value not in (False, True):
            raise _wrong(name, row, value, "a boolean")
    return values


def _texts(name: str, values: list[Any]) -> list[Any]:
    for row, value in enumerate(values):
        if value is not None and type(value) is not str:
            raise _wrong(name, row, value, "a string")
    return values


def _timestamps(name: str, values: list[Any]) -> list[datetime | None]:
    return [_instant(name, row, value) for row, value in enumerate(values)]


def _instant(name: str, row: int, value: Any) -> datetime | None:
    """An ISO 8601 text as an instant; one without a zone is UTC, as everywhere in the lifecycle."""
    if value is None:
        return None
    if type(value) is not str:
        raise _wrong(name, row, value, "a timestamp such as '2013-01-31T14:00:00Z'")
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _wrong(name, row, value, "a timestamp such as '2013-01-31T14:00:00Z'") from None


def _as_datetime64(moments: list[Any]) -> Any:
    return np.array(
        [None if moment is None else moment.replace(tzinfo=None) for moment in moments],
        dtype="datetime64[us]",
    )


def _wrong(name: str, row: int, value: Any, kind: str) -> BadInput:
    found = repr(value) if isinstance(value, (str, int, float, bool)) else type(value).__name__
    return BadInput(f"{name}: row {row}: {found[:60]} is not {kind}")


_CHECKS: dict[str, Callable[[str, list[Any]], list[Any]]] = {
    "number": _numbers,
    "integer": _integers,
    "boolean": _booleans,
    "string": _texts,
    "timestamp": _timestamps,
}
