"""What Great Expectations measures of a partition, computed by DuckDB in as few passes as there can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from include.lifecycle.data.literals import NUMERIC, NotCompiled, literal, quoted
from include.lifecycle.data.partition_rows import TYPED
from include.lifecycle.data.validation.conditions import Condition, condition, in_set
from include.lifecycle.spec.dataset import ColumnType

if TYPE_CHECKING:
    import duckdb

Compute = Callable[[], Any]
"""Gives a metric's value; raises NotCompiled when DuckDB cannot compute it."""
SHOWN = 20
"""How many unexpected values a result shows, as Great Expectations does."""


class Scan:
    """One pass over the rows for all aggregates that were asked for before the first answer is taken."""

    def __init__(self, db: duckdb.DuckDBPyConnection, columns: Mapping[str, ColumnType]) -> None:
        self.columns = columns
        self._db = db
        self._asked: dict[str, None] = {}
        self._answers: dict[str, Any] = {}
        self._queried: dict[str, list[tuple[Any, ...]]] = {}

    def ask(self, aggregate: str) -> Compute:
        """The value of an aggregate over `typed_rows`, later."""
        self._asked.setdefault(aggregate)
        return lambda: self._answer(aggregate)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query of its own; raises NotCompiled when DuckDB cannot compute it."""
        import duckdb

        try:
            if sql not in self._queried:
                found = self._db.execute(sql).fetchall()
                self._queried[sql] = [tuple(map(_as_pandas, row)) for row in found]
            return self._queried[sql]
        except (
            duckdb.OutOfRangeException,
            duckdb.ConversionException,
            duckdb.InvalidInputException,
        ) as error:
            raise NotCompiled(str(error).splitlines()[0]) from None

    def one(self, sql: str) -> Any:
        """The one value of a query of its own."""
        return self.query(sql)[0][0]

    def keep(self, name: str, sql: str) -> None:
        """Keep a query's rows as a table of this connection."""
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}")

    def _answer(self, aggregate: str) -> Any:
        waiting = [sql for sql in self._asked if sql not in self._answers]
        if aggregate in waiting:
            try:
                (row,) = self.query(f"SELECT {', '.join(waiting)} FROM {TYPED}")
            except NotCompiled:
                return self.one(f"SELECT {aggregate} FROM {TYPED}")
            self._answers |= dict(zip(waiting, row, strict=True))
        return self._answers[aggregate]


def _as_pandas(value: Any) -> Any:
    if isinstance(value, datetime):
        import pandas as pd

        return pd.Timestamp(value).tz_convert("UTC")
    return value


def compute(metric: str, domain: Mapping[str, Any], asked: Mapping[str, Any], scan: Scan) -> Compute:
    """One of Great Expectations' metrics, such as `column.max`, computed as its pandas engine does.

    Raises NotCompiled when SQL would not be sure to say the same.
    """
    if domain.get("row_condition"):
        raise NotCompiled("row_condition")
    stem, _, what = metric.rpartition(".")
    if what in _OF_CONDITIONS:
        return _OF_CONDITIONS[what](condition(stem, domain, asked, scan.columns), stem, scan)
    if metric in _OF_TABLES:
        return _OF_TABLES[metric](scan)
    if metric not in _OF_COLUMNS:
        raise NotCompiled(metric)
    column = domain["column"]
    if column not in scan.columns:
        raise NotCompiled(f"no column {column}")
    return _OF_COLUMNS[metric](column, asked, scan)


def _unexpected_count(found: Condition, _: str, scan: Scan) -> Compute:
    if found.rows:
        return lambda: scan.one(f"SELECT count(*) FROM ({found.rows})")
    return scan.ask(f"count(*) FILTER (WHERE {found.unexpected})")


def _unexpected_values(found: Condition, stem: str, scan: Scan) -> Compute:
    count = _unexpected_count(found, stem, scan)

    def values() -> list[Any]:
        if not count():
            return []
        names = ", ".join(map(quoted, found.shown))
        # DuckDB keeps the file's order, and reads no further than it must.
        where = f"_row IN ({found.rows})" if found.rows else found.unexpected
        rows = scan.query(f"SELECT {names} FROM {TYPED} WHERE {where} LIMIT {SHOWN}")
        if stem.startswith("column_values."):
            return [value for (value,) in rows]
        if stem.startswith("column_pair_values."):
            return rows
        return [dict(zip(found.shown, row, strict=True)) for row in rows]

    return values


def _judged_count(found: Condition, _: str, scan: Scan) -> Compute:
    return scan.ask(f"count(*) FILTER (WHERE {found.judged})")


_OF_CONDITIONS = {
    "unexpected_count": _unexpected_count,
    "unexpected_values": _unexpected_values,
    "filtered_row_count": _judged_count,
}
_OF_TABLES: dict[str, Callable[[Scan], Compute]] = {
    "table.row_count": lambda scan: scan.ask("count(*)"),
    "table.columns": lambda scan: lambda: list(scan.columns),
    "table.column_count": lambda scan: lambda: len(scan.columns),
}


def _aggregate(form: str, kinds: tuple[ColumnType, ...]) -> Callable[..., Compute]:
    def asked_of(column: str, _: Mapping[str, Any], scan: Scan) -> Compute:
        _require_kind(column, kinds, scan)
        return scan.ask(form.format(column=quoted(column)))

    return asked_of


def _require_kind(column: str, kinds: tuple[ColumnType, ...], scan: Scan) -> None:
    if scan.columns[column] not in kinds:
        raise NotCompiled(f"{column} is a {scan.columns[column]}")


def _distinct_count(column: str, _: Any, scan: Scan) -> Compute:
    name = quoted(column)
    return lambda: scan.one(
        f"SELECT count(*) FROM (SELECT DISTINCT {name} FROM {TYPED} WHERE {name} IS NOT NULL)"
    )


def _unique_share(column: str, asked: Any, scan: Scan) -> Compute:
    distinct, present = _distinct_count(column, asked, scan), scan.ask(f"count({quoted(column)})")
    return lambda: distinct() / present() if present() else 0


def _present_share(column: str, _: Any, scan: Scan) -> Compute:
    rows, present = scan.ask("count(*)"), scan.ask(f"count({quoted(column)})")
    return lambda: present() / rows() if rows() else 0


def _not_in_set(column: str, asked: Mapping[str, Any], scan: Scan) -> Compute:
    return lambda: [
        value for (value,) in scan.query(f"{_others(column, asked, scan)} ORDER BY 1 LIMIT {SHOWN}")
    ]


def _not_in_set_count(column: str, asked: Mapping[str, Any], scan: Scan) -> Compute:
    others = _others(column, asked, scan)
    return lambda: scan.one(f"SELECT count(*) FROM ({others})")


def _others(column: str, asked: Mapping[str, Any], scan: Scan) -> str:
    _require_kind(column, ("string", *NUMERIC), scan)
    expected = in_set(column, asked["value_set"], scan.columns)
    name = quoted(column)
    return f"SELECT DISTINCT {name} FROM {TYPED} WHERE {name} IS NOT NULL AND NOT {expected}"


def _missing(column: str, asked: Mapping[str, Any], scan: Scan) -> Compute:
    _require_kind(column, ("string", *NUMERIC), scan)
    kind = scan.columns[column]
    found = {
        value: scan.ask(f"bool_or({quoted(column)} = {literal(value, kind)})") for value in asked["value_set"]
    }
    return lambda: [value for value, is_there in found.items() if not is_there()]


def _missing_count(column: str, asked: Mapping[str, Any], scan: Scan) -> Compute:
    missing = _missing(column, asked, scan)
    return lambda: len(missing())


def _most_common(column: str, _: Any, scan: Scan) -> Compute:
    _require_kind(column, ("string", *NUMERIC), scan)
    name = quoted(column)
    sql = (
        f"WITH counted AS (SELECT {name} AS value, count(*) AS times FROM {TYPED} "
        f"WHERE {name} IS NOT NULL GROUP BY {name}) "
        "SELECT value FROM counted WHERE times = (SELECT max(times) FROM counted) ORDER BY value"
    )
    return lambda: [value for (value,) in scan.query(sql)]


def _median(column: str, _: Any, scan: Scan) -> Compute:
    _require_kind(column, NUMERIC, scan)
    present = scan.ask(f"count({quoted(column)})")

    def median() -> Any:
        count = present()
        values = _at(column, {(count - 1) // 2, count // 2}, scan) if count else {}
        return sum(map(float, values.values())) / len(values) if values else None

    return median


def _quantiles(column: str, asked: Mapping[str, Any], scan: Scan) -> Compute:
    """The nearest values, as pandas takes them: of two equally near ones that at the even place."""
    _require_kind(column, NUMERIC, scan)
    if asked.get("allow_relative_error") not in (False, None, "nearest"):
        raise NotCompiled("allow_relative_error")
    present = scan.ask(f"count({quoted(column)})")

    def quantiles() -> list[Any]:
        if not present():
            raise NotCompiled("quantiles of nothing")
        places = [round((present() - 1) * share) for share in asked["quantiles"]]
        values = _at(column, set(places), scan)
        return [values[place] for place in places]

    return quantiles


def _at(column: str, places: set[int], scan: Scan) -> dict[int, Any]:
    """Values by their place in the column's order; the sort spills, unlike DuckDB's quantiles."""
    name, wanted = quoted(column), ", ".join(map(str, sorted(places)))
    ordered = f"SELECT {name} AS value FROM {TYPED} WHERE {name} IS NOT NULL ORDER BY {name}"
    numbered = f"SELECT row_number() OVER () - 1 AS place, value FROM ({ordered})"
    return dict(scan.query(f"SELECT place, value FROM ({numbered}) WHERE place IN ({wanted})"))


_ORDERED: tuple[ColumnType, ...] = (*NUMERIC, "string", "timestamp")
_OF_COLUMNS: dict[str, Callable[..., Compute]] = {
    "column.max": _aggregate("max({column})", _ORDERED),
    "column.min": _aggregate("min({column})", _ORDERED),
    "column.mean": _aggregate("favg({column})", NUMERIC),
    "column.sum": _aggregate("coalesce(sum({column}), 0)", NUMERIC),
    "column.standard_deviation": _aggregate("stddev_samp({column})", NUMERIC),
    "column.median": _median,
    "column.quantile_values": _quantiles,
    "column.distinct_values.count": _distinct_count,
    "column.unique_proportion": _unique_share,
    "column.non_null_proportion": _present_share,
    "column.non_null_count": _aggregate("count({column})", (*_ORDERED, "boolean")),
    "column.distinct_values.not_in_set": _not_in_set,
    "column.distinct_values.not_in_set.count": _not_in_set_count,
    "column.distinct_values.missing_from_column": _missing,
    "column.distinct_values.missing_from_column.count": _missing_count,
    "column.most_common_value": _most_common,
}
