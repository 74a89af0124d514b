"""Checks the rows of a request against a model's inputs: strictly typed, each error names the field."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from types import NoneType
from typing import Any

import msgspec
import numpy as np

from include.lifecycle.model.predictor import BadInput, Columns, Predictor, as_columns

_INT64 = range(-(2**63), 2**63)
_BEYOND = float(_INT64.stop)
_NUMERIC = ("number", "integer")
_PLAIN = frozenset((float, int, NoneType))


class Rows(msgspec.Struct, frozen=True, gc=False):
    """The rows of one request."""

    count: int
    typed: Columns
    """The model's inputs as :meth:`Predictor.predict_columns` takes them, for one prediction: feature code
    may write into them."""
    inputs: dict[str, list[Any]]
    """The same as they are logged: plain JSON values, timestamps with their zone."""
    keys: list[str | None] | None
    """What identifies each row, where the request says so."""
    event_times: list[datetime | None] | None
    """When each row happened, where the request says so."""


class Layout(msgspec.Struct, frozen=True, gc=False):
    """The columns of a model's rows; made once, since every request is read by it."""

    inputs: Mapping[str, str]
    """The type of each."""
    key: str
    event_time: str
    wanted: tuple[str, ...]
    """The columns of a request that are looked at, the inputs first."""
    numbers: tuple[str, ...]
    whole: list[int]
    """Which of the numbers are integers."""


def layout_of(predictor: Predictor) -> Layout:
    """The columns that a version takes."""
    inputs, key, event_time = predictor.inputs, predictor.key, predictor.event_time
    numbers = tuple(name for name, kind in inputs.items() if kind in _NUMERIC)
    return Layout(
        inputs,
        key,
        event_time,
        wanted=tuple(dict.fromkeys((*inputs, key, event_time))),
        numbers=numbers,
        whole=[place for place, name in enumerate(numbers) if inputs[name] == "integer"],
    )


def joined(parts: Sequence[Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """The columns of several requests, one after the other.

    Raises BadInput where they are not alike, or one is no rows by itself: together that would not be seen.
    """
    names = list(parts[0])
    for part in parts:
        sizes = set(map(len, part.values()))
        if list(part) != names or len(sizes) != 1 or 0 in sizes:
            raise BadInput("the columns differ")
    columns = zip(*[part.values() for part in parts], strict=True)
    return {name: list(chain.from_iterable(values)) for name, values in zip(names, columns, strict=True)}


def check_rows(columns: Mapping[str, list[Any]], layout: Layout) -> Rows:
    """Columns of plain JSON values as checked rows; raises BadInput naming the field."""
    count = _count(columns, layout)
    numbers = _plain_numbers(columns, layout, count)
    inputs = {
        name: columns[name] if name in numbers else _CHECKS[kind](name, columns[name])
        for name, kind in layout.inputs.items()
    }
    return Rows(
        count,
        _typed(numbers, inputs, layout.inputs),
        inputs,
        _keys(columns, layout.key),
        inputs.get(layout.event_time) or _event_times(columns, layout.event_time),
    )


def _count(columns: Mapping[str, list[Any]], layout: Layout) -> int:
    sizes = set(map(len, columns.values()))
    if len(sizes) != 1 or 0 in sizes or not layout.inputs.keys() <= columns.keys():
        raise _not_rows(columns, layout)
    return sizes.pop()


def _not_rows(columns: Mapping[str, list[Any]], layout: Layout) -> BadInput:
    """Why columns are no rows that the model takes."""
    for name in layout.inputs:
        if name not in columns:
            return BadInput(f"{name}: missing; the model needs {', '.join(layout.inputs)}")
    sizes = {name: len(values) for name, values in columns.items()}
    first, count = next(iter(sizes.items()))
    for name, size in sizes.items():
        if size != count:
            return BadInput(f"{name}: {size} values, but {first} has {count}")
    return BadInput(f"{first}: no rows; send at least one")


def _plain_numbers(columns: Mapping[str, list[Any]], layout: Layout, count: int) -> Columns:
    """The columns of numbers, checked and typed all at once; none where one of them needs a second look."""
    values = list(chain.from_iterable([columns[name] for name in layout.numbers]))
    if not _PLAIN.issuperset(map(type, values)):
        return {}
    try:
        table = np.array(values, dtype=np.float64).reshape(len(layout.numbers), count)
    except OverflowError:
        return {}
    known = len(values) - values.count(None)
    if np.count_nonzero(np.abs(table) < _BEYOND) != known:
        return {}
    if layout.whole and np.any(table[layout.whole] % 1 > 0):
        return {}
    return dict(zip(layout.numbers, table, strict=True))


def _typed(numbers: Columns, inputs: Mapping[str, list[Any]], kinds: Mapping[str, str]) -> Columns:
    """All inputs typed, in their order; most models have nothing but numbers."""
    if len(numbers) == len(inputs):
        return numbers
    values: dict[str, Any] = {**inputs, **numbers}
    for name, kind in kinds.items():
        if kind == "timestamp":
            values[name] = _as_datetime64(inputs[name])
    return as_columns(values, kinds)


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
