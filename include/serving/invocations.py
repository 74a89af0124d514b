"""MLflow's protocol: the four ways of writing rows in the body of POST /invocations."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec

from include.lifecycle.model.predictor import BadInput

FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")


class Split(msgspec.Struct):
    """Rows as pandas writes them with `orient="split"`."""

    columns: list[str]
    data: list[list[Any]]


class Invocation(msgspec.Struct):
    """A request: rows in one of four forms."""

    dataframe_split: Split | msgspec.UnsetType = msgspec.UNSET
    dataframe_records: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    inputs: list[Any] | dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    instances: list[Any] | dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(Invocation)


def decode(body: bytes, wanted: Sequence[str]) -> dict[str, list[Any]]:
    """The wanted columns of a request; raises BadInput or msgspec's errors, naming the field."""
    request = _decoder.decode(body)
    given = [name for name in request.__struct_fields__ if getattr(request, name) is not msgspec.UNSET]
    if len(given) != 1:
        raise BadInput(f"body: give one of {', '.join(FORMS)}; found {' and '.join(given) or 'none of them'}")
    if isinstance(request.dataframe_split, Split):
        return _from_split(request.dataframe_split.columns, request.dataframe_split.data, wanted)
    return _from_any(given[0], getattr(request, given[0]), wanted)


def _from_any(form: str, rows: Any, wanted: Sequence[str]) -> dict[str, list[Any]]:
    if isinstance(rows, dict):
        return _from_columns(form, rows, wanted)
    if not rows:
        raise BadInput(f"{form}: no rows; send at least one")
    if set(map(type, rows)) == {dict}:
        return _from_records(form, rows, wanted)
    raise BadInput(f'{form}: expected rows such as {{"{wanted[0]}": …}}, or columns of values')


def _from_split(columns: list[str], data: list[list[Any]], wanted: Sequence[str]) -> dict[str, list[Any]]:
    for number, row in enumerate(data):
        if len(row) != len(columns):
            raise BadInput(
                f"dataframe_split.data: row {number} has {len(row)} values for {len(columns)} columns"
            )
    if len(set(columns)) != len(columns):
        raise BadInput("dataframe_split.columns: a column is named twice")
    values = zip(*data, strict=True) if data else ([] for _ in columns)
    found = dict(zip(columns, values, strict=True))
    return {name: list(found[name]) for name in wanted if name in found}


def _from_records(form: str, rows: list[dict[str, Any]], wanted: Sequence[str]) -> dict[str, list[Any]]:
    if len(rows) == 1:
        return {name: [rows[0][name]] for name in wanted if name in rows[0]}
    found = {name: _column(form, rows, name) for name in wanted}
    return {name: values for name, values in found.items() if values is not None}


def _column(form: str, rows: list[dict[str, Any]], name: str) -> list[Any] | None:
    """The values of one column; None where no row has it."""
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        missing = [number for number, row in enumerate(rows) if name not in row]
    if len(missing) == len(rows):
        return None
    raise BadInput(f"{name}: missing in row {missing[0]} of {form}; use null for an unknown value")


def _from_columns(form: str, columns: dict[str, Any], wanted: Sequence[str]) -> dict[str, list[Any]]:
    found = {name: columns[name] for name in wanted if name in columns}
    for name, values in found.items():
        if not isinstance(values, list):
            raise BadInput(f"{name}: expected a list of values in {form}")
    return found
