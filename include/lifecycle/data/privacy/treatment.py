"""Treats personal data before anything is written: drop, pseudonym, generalise, keep."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from include.lifecycle.data.privacy.erased import Sieve, erased, fingerprint
from include.lifecycle.data.privacy.pseudonyms import keys_of
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import Column, DatasetSpec
from include.lifecycle.spec.privacy import Drop, Generalise, Pseudonym
from include.lifecycle.store.connections import Connections
from include.lifecycle.store.objects import Store
from include.lifecycle.store.scan import connect

Treatment = Callable[[pa.RecordBatch], pa.RecordBatch]
"""Takes a batch of text columns as the source wrote them, gives what may be staged."""
_Change = Callable[[pa.Array], pa.Array]

NOT_A_NUMBER, NOT_A_TIME = "<not a number>", "<not a time>"
"""What stands for a value that could not be read: validation quarantines it, and it says nothing."""


def treatment_of(spec: DatasetSpec, connections: Connections, store: Store) -> Treatment:
    """What happens to each batch of a dataset's rows, erased people's rows left out.

    Raises Rejected when a key is missing or weak, or a width does not suit its column.
    """
    dropped = {name for name, column in spec.columns.items() if isinstance(column.privacy, Drop)}
    changes = _changes(spec, connections)
    sieve = _sieve(spec, connections, store)

    def treat(batch: pa.RecordBatch) -> pa.RecordBatch:
        if sieve is not None:
            batch = batch.filter(sieve.stays(batch))
        kept = [name for name in batch.schema.names if name not in dropped]
        columns = [batch.column(name) for name in kept]
        treated = [
            changes[name](column) if name in changes else column
            for name, column in zip(kept, columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(treated, names=kept)

    return treat


def treatment_inputs(spec: DatasetSpec, connections: Connections, store: Store) -> dict[str, str]:
    """What a treatment depends on beside the spec: the current key's name, and who was erased."""
    inputs = {}
    if spec.privacy is not None and spec.privacy.key is not None:
        key = keys_of(spec, connections).current
        inputs["key"] = f"{key.name}:{key.fingerprint}"
    if marks := erased(spec.name, store):
        inputs["erased"] = fingerprint(marks)
    return inputs


def treatments(spec: DatasetSpec) -> dict[str, str]:
    """How each column is treated, for people; columns without a treatment are not named."""
    return {name: _said(column) for name, column in spec.columns.items() if column.privacy is not None}


def _said(column: Column) -> str:
    if not isinstance(column.privacy, Generalise):
        return column.privacy.kind if column.privacy else ""
    by = column.privacy.model_dump(exclude={"kind"}, exclude_none=True)
    return "generalise: " + ", ".join(f"{how} {much}" for how, much in by.items())


def _sieve(spec: DatasetSpec, connections: Connections, store: Store) -> Sieve | None:
    marks = erased(spec.name, store)
    return Sieve(spec, marks, keys_of(spec, connections)) if marks else None


def _changes(spec: DatasetSpec, connections: Connections) -> dict[str, _Change]:
    found: dict[str, _Change] = {}
    pseudonyms = [name for name, column in spec.columns.items() if isinstance(column.privacy, Pseudonym)]
    if pseudonyms:
        found |= dict.fromkeys(pseudonyms, keys_of(spec, connections).current.pseudonyms)
    for name, column in spec.columns.items():
        if isinstance(column.privacy, Generalise):
            found[name] = _generalised(spec, name, column, column.privacy)
    return found


def _generalised(spec: DatasetSpec, name: str, column: Column, way: Generalise) -> _Change:
    if way.prefix is not None:
        length = way.prefix
        return lambda values: pc.utf8_slice_codeunits(values, 0, length)
    if way.width is not None:
        return _by_sql(spec, _start_of_range(spec, name, column, way.width))
    return _by_sql(spec, _start_of_period(str(way.period)))


def _start_of_range(spec: DatasetSpec, name: str, column: Column, width: float) -> str:
    """The start of the range as text, with as many decimals as the width has.

    Where a range is narrower than a float can tell, the start would be the value itself.
    """
    decimals = max(0, -int(Decimal(repr(width)).normalize().as_tuple().exponent))
    if column.type == "integer" and decimals:
        raise Rejected(
            f"{spec.name}.yaml: columns.{name}.privacy: an integer needs a whole width, not {width}"
        )
    ranges = f"floor(round(TRY_CAST(v AS DOUBLE) / {width!r}, 9))"
    start = f"printf('%.{decimals}f', {ranges} * {width!r} + 0.0)"
    return f"CASE WHEN abs({ranges}) < 1e15 THEN {start} ELSE '{NOT_A_NUMBER}' END"


def _start_of_period(period: str) -> str:
    moment = "TRY_CAST(v AS TIMESTAMPTZ)"
    return (
        f"CASE WHEN isfinite({moment}) THEN "
        f"strftime(date_trunc('{period}', {moment}), '%Y-%m-%dT%H:%M:%S%z') ELSE '{NOT_A_TIME}' END"
    )


def _by_sql(spec: DatasetSpec, expression: str) -> _Change:
    """A change of a text column by an SQL expression over `v`; a missing value stays missing."""
    db = connect()
    db.execute(f"SET TimeZone = '{spec.timezone}'")
    query = f"SELECT CASE WHEN v IS NOT NULL THEN {expression} END AS v FROM words"

    def change(values: pa.Array) -> pa.Array:
        found = values.dictionary_encode()
        try:
            db.register("words", pa.table({"v": found.dictionary}))
            words = db.sql(query).to_arrow_table().column("v")
        except duckdb.Error:
            # Its message may quote the value.
            raise Rejected(f"{spec.name}: a column cannot be generalised; check its privacy") from None
        return words.combine_chunks().cast(pa.string()).take(found.indices)

    return change
