"""What Great Expectations asks of each row, as SQL that finds the same rows unexpected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from include.lifecycle.data.literals import NUMERIC, NotCompiled, literal, quoted, text
from include.lifecycle.data.validation.patterns import Untranslatable, like, translate
from include.lifecycle.spec.dataset import ColumnType

Columns = Mapping[str, ColumnType]
_PAIRWISE_SUM = 8
"""NumPy adds up to so many columns from left to right, as SQL does."""


@dataclass(frozen=True)
class Condition:
    """What one expectation asks of the rows of the view `typed_rows`."""

    judged: str
    """SQL that is true where the row counts."""
    unexpected: str = ""
    """SQL that is true where a row that counts is unexpected; never null."""
    rows: str = ""
    """Instead of `unexpected`, a SELECT of the `_row` of each unexpected row."""
    shown: tuple[str, ...] = ()
    """The columns whose values tell what was wrong."""


def condition(
    metric: str, domain: Mapping[str, Any], asked: Mapping[str, Any], columns: Columns
) -> Condition:
    """The condition behind one of Great Expectations' map metrics, such as `column_values.between`.

    Raises NotCompiled when SQL would not be sure to find the same rows.
    """
    if domain.get("row_condition"):
        raise NotCompiled("row_condition")
    if metric not in _CONDITIONS:
        raise NotCompiled(metric)
    named = [domain[key] for key in ("column", "column_A", "column_B") if key in domain]
    named += domain.get("column_list", [])
    for name in named:
        if name not in columns:
            raise NotCompiled(f"no column {name}")
    return _CONDITIONS[metric](tuple(named), domain, asked, columns)


Compile = Callable[[tuple[str, ...], Mapping[str, Any], Mapping[str, Any], Columns], Condition]
_CONDITIONS: dict[str, Compile] = {}


def _compiles(*metrics: str) -> Callable[[Compile], Compile]:
    def register(function: Compile) -> Compile:
        _CONDITIONS.update(dict.fromkeys(metrics, function))
        return function

    return register


def _of_values(column: str, unexpected: str) -> Condition:
    """A condition on a column's values; missing ones do not count."""
    name = quoted(column)
    return Condition(f"{name} IS NOT NULL", f"({name} IS NOT NULL AND ({unexpected}))", shown=(column,))


@_compiles("column_values.nonnull")
def _present(named: tuple[str, ...], *_: Any) -> Condition:
    return Condition("true", f"{quoted(named[0])} IS NULL", shown=named)


@_compiles("column_values.null")
def _missing(named: tuple[str, ...], *_: Any) -> Condition:
    return Condition("true", f"{quoted(named[0])} IS NOT NULL", shown=named)


@_compiles("column_values.between")
def _between(named: tuple[str, ...], _: Any, asked: Mapping[str, Any], columns: Columns) -> Condition:
    (column,), kind = named, columns[named[0]]
    if kind == "boolean":
        raise NotCompiled("truth values between others")
    least, most = asked.get("min_value"), asked.get("max_value")
    if least is None and most is None:
        raise NotCompiled("neither min_value nor max_value")
    if least is not None and most is not None and (type(least) is not type(most) or least > most):
        raise NotCompiled("min_value and max_value")
    inside = _inside(quoted(column), asked, lambda value: literal(value, kind))
    return _of_values(column, f"NOT ({inside})")


@_compiles("column_values.value_length.between", "column_values.value_length.equals")
def _length(named: tuple[str, ...], _: Any, asked: Mapping[str, Any], columns: Columns) -> Condition:
    (column,) = named
    _require(columns[column] == "string", "lengths of what is no text")
    length = f"length({quoted(column)})"
    if "value" in asked:
        return _of_values(column, f"{length} <> {literal(asked['value'], 'number')}")
    least, most = asked.get("min_value"), asked.get("max_value")
    _require(least is not None or most is not None, "neither min_value nor max_value")
    return _of_values(column, f"NOT ({_inside(length, asked, lambda value: literal(value, 'number'))})")


def _inside(value: str, asked: Mapping[str, Any], render: Callable[[Any], str]) -> str:
    parts = []
    if asked.get("min_value") is not None:
        parts.append(f"{value} {'>' if asked.get('strict_min') else '>='} {render(asked['min_value'])}")
    if asked.get("max_value") is not None:
        parts.append(f"{value} {'<' if asked.get('strict_max') else '<='} {render(asked['max_value'])}")
    return " AND ".join(parts)


@_compiles("column_values.in_set")
def _in_set(named: tuple[str, ...], _: Any, asked: Mapping[str, Any], columns: Columns) -> Condition:
    return _of_values(named[0], f"NOT {in_set(named[0], asked['value_set'], columns)}")


@_compiles("column_values.not_in_set")
def _not_in_set(named: tuple[str, ...], _: Any, asked: Mapping[str, Any], columns: Columns) -> Condition:
    return _of_values(named[0], in_set(named[0], asked["value_set"], columns))


def in_set(column: str, values: Any, columns: Columns) -> str:
    """SQL for a column's value being one of some; raises NotCompiled for values of another type."""
    _require(isinstance(values, list | tuple | set), "value_set")
    _require(columns[column] != "timestamp", "moments in a set")
    if not values:
        return "false"
    listed = ", ".join(literal(value, columns[column]) for value in values)
    return f"({quoted(column)} IN ({listed}))"


@_compiles("column_values.match_regex", "column_values.match_regex_list")
def _match(named: tuple[str, ...], _: Any, asked: Mapping[str, Any], columns: Columns) -> Condition:
    return _of_values(named[0], f"NOT ({_matches(named[0], asked, columns)})")


@_compiles("column_values.not_match_regex", "column_values.not_match_regex_list")
def _no_match(named: tuple[str, ...], _: Any, asked: Mapping[str, Any], columns: Columns) -> Condition:
    return _of_values(named[0], _matches(named[0], asked, columns))


def _matches(column: str, asked: Mapping[str, Any], columns: Columns) -> str:
    patterns = asked["regex_list"] if "regex_list" in asked else [asked["regex"]]
    _require(bool(patterns) and asked.get("match_on", "any") in ("any", "all"), "regex_list or match_on")
    together = " AND " if asked.get("match_on") == "all" else " OR "
    return together.join(_found(column, pattern, columns) for pattern in patterns)


def _found(column: str, pattern: Any, columns: Columns) -> str:
    _require(columns[column] == "string", "a pattern for what is no text")
    try:
        return f"regexp_matches({quoted(column)}, {text(translate(pattern))})"
    except Untranslatable as error:
        raise NotCompiled(f"pattern {pattern}: {error}") from None


def _like(expected: bool) -> Compile:
    """SQL's own patterns; Great Expectations' pandas engine has none."""

    def compiled(named: tuple[str, ...], _: Any, asked: Mapping[str, Any], columns: Columns) -> Condition:
        (column,) = named
        _require(columns[column] == "string", "a pattern for what is no text")
        patterns = asked.get("like_pattern_list") or [asked.get("like_pattern")]
        fine = isinstance(patterns, list) and asked.get("match_on", "any") in ("any", "all")
        _require(fine, "like_pattern_list or match_on")
        together = " AND " if asked.get("match_on") == "all" else " OR "
        found = together.join(_alike(column, pattern, asked.get("escape")) for pattern in patterns)
        return _of_values(column, f"{'NOT ' if expected else ''}({found})")

    return compiled


def _alike(column: str, pattern: Any, escape: Any) -> str:
    for value in (pattern, "" if escape is None else escape):
        literal(value, "string")  # a text, and without NUL
    return f"{quoted(column)} LIKE {like(pattern, escape)}"


_CONDITIONS |= {
    "column_values.match_like_pattern": _like(True),
    "column_values.match_like_pattern_list": _like(True),
    "column_values.not_match_like_pattern": _like(False),
    "column_values.not_match_like_pattern_list": _like(False),
}


def _in_order(sign: str) -> Compile:
    def compiled(named: tuple[str, ...], _: Any, asked: Mapping[str, Any], columns: Columns) -> Condition:
        (column,), name = named, quoted(named[0])
        _require(columns[column] in (*NUMERIC, "timestamp"), "an order of what has no distance")
        wrong = f"{name} {sign}{'=' if asked.get('strictly') else ''} _before"
        rows = (
            f"SELECT _row FROM (SELECT _row, {name}, lag({name}) OVER (ORDER BY _row) AS _before "
            f"FROM typed_rows WHERE {name} IS NOT NULL) WHERE {wrong}"
        )
        return Condition(f"{name} IS NOT NULL", rows=rows, shown=named)

    return compiled


_CONDITIONS["column_values.increasing"] = _in_order("<")
_CONDITIONS["column_values.decreasing"] = _in_order(">")


@_compiles("column_values.unique", "compound_columns.unique")
def _unique(named: tuple[str, ...], domain: Mapping[str, Any], *_: Any) -> Condition:
    judged = _judged(named, domain)
    names = ", ".join(map(quoted, named))
    same = " AND ".join(f"r.{quoted(name)} IS NOT DISTINCT FROM t.{quoted(name)}" for name in named)
    rows = (
        f"SELECT r._row FROM typed_rows r SEMI JOIN (SELECT {names} FROM typed_rows WHERE {judged} "
        f"GROUP BY {names} HAVING count(*) > 1) t ON {same}"
    )
    return Condition(judged, rows=rows, shown=named)


@_compiles("column_pair_values.equal")
def _pair_equal(named: tuple[str, ...], domain: Any, _: Any, columns: Columns) -> Condition:
    _comparable(named, columns)
    return _of_record(named, domain, f"{quoted(named[0])} = {quoted(named[1])}")


@_compiles("column_pair_values.a_greater_than_b")
def _greater(named: tuple[str, ...], domain: Any, asked: Mapping[str, Any], columns: Columns) -> Condition:
    _comparable(named, columns)
    _require(columns[named[0]] != "boolean", "an order of truth values")
    sign = ">=" if asked.get("or_equal") else ">"
    return _of_record(named, domain, f"{quoted(named[0])} {sign} {quoted(named[1])}")


@_compiles("column_pair_values.in_set")
def _pair_in_set(named: tuple[str, ...], domain: Any, asked: Any, columns: Columns) -> Condition:
    _require(isinstance(asked["value_pairs_set"], list | tuple | set), "value_pairs_set")
    _require({columns[name] for name in named} <= {"string", *NUMERIC}, "pairs of truth values or moments")
    same = [
        " AND ".join(_is(name, value, columns) for name, value in zip(named, pair, strict=True))
        for pair in asked["value_pairs_set"]
    ]
    return _of_record(named, domain, " OR ".join(f"({one})" for one in same) or "false")


def _is(column: str, value: Any, columns: Columns) -> str:
    wanted = "NULL" if value is None else literal(value, columns[column])
    return f"{quoted(column)} IS NOT DISTINCT FROM {wanted}"


@_compiles("multicolumn_sum.equal")
def _sum(named: tuple[str, ...], domain: Any, asked: Mapping[str, Any], columns: Columns) -> Condition:
    _require(all(columns[name] in NUMERIC for name in named), "a sum of what is no number")
    _require(len(named) < _PAIRWISE_SUM, f"a sum of {len(named)} columns")
    added = " + ".join(f"{quoted(name)}::DOUBLE" for name in named)
    return _of_record(named, domain, f"{added} = {literal(asked['sum_total'], 'number')}")


@_compiles("multicolumn_values.equal")
def _all_equal(named: tuple[str, ...], domain: Any, _: Any, columns: Columns) -> Condition:
    _comparable(named, columns)
    first = quoted(named[0])
    return _of_record(
        named, domain, " AND ".join(f"{first} IS NOT DISTINCT FROM {quoted(name)}" for name in named)
    )


@_compiles("select_column_values.unique.within_record")
def _all_different(named: tuple[str, ...], domain: Any, _: Any, columns: Columns) -> Condition:
    _comparable(named, columns)
    different = (f"{quoted(one)} IS DISTINCT FROM {quoted(other)}" for one, other in combinations(named, 2))
    return _of_record(named, domain, " AND ".join(different) or "true")


def _of_record(named: Sequence[str], domain: Mapping[str, Any], expected: str) -> Condition:
    """A condition on several columns; what is unknown is unexpected."""
    judged = _judged(named, domain)
    unexpected = f"({judged} AND NOT coalesce({expected}, false))"
    return Condition(judged, unexpected, shown=tuple(named))


def _judged(named: Sequence[str], domain: Mapping[str, Any]) -> str:
    ignored = domain.get("ignore_row_if", "any_value_is_missing")
    present = [f"{quoted(name)} IS NOT NULL" for name in named]
    if ignored in ("all_values_are_missing", "both_values_are_missing"):
        return f"({' OR '.join(present)})"
    if ignored in ("any_value_is_missing", "either_value_is_missing"):
        return f"({' AND '.join(present)})"
    _require(ignored in ("never", "neither"), f"ignore_row_if {ignored}")
    return "true"


def _comparable(named: Sequence[str], columns: Columns) -> None:
    kinds = {columns[name] for name in named}
    _require(len(kinds) == 1 or kinds <= set(NUMERIC), "columns of different types")


def _require(fine: bool, why: str) -> None:
    if not fine:
        raise NotCompiled(why)
