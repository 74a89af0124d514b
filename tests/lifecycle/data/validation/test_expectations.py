"""DuckDB finds what Great Expectations finds, for every expectation that is compiled."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from include.lifecycle.data.partition_rows import PartitionRows, open_rows
from include.lifecycle.data.validation import duckdb_engine, pandas_engine
from include.lifecycle.data.validation.suite import Rule, build_rules
from include.lifecycle.spec.dataset import DatasetSpec
from tests.lifecycle.tiny import Project

KINDS = {
    "id": "string",
    "at": "timestamp",
    "u": "timestamp",
    "n": "number",
    "m": "number",
    "i": "integer",
    "j": "integer",
    "b": "boolean",
    "s": "string",
    "t": "string",
}
NUMBERS = ["0", "-0.0", "1", "1.0", "2.5", "-3", "1e3", "0.1", "0.2", "0.3", "nan", "inf", "far", None]
WHOLE = ["0", "1", "2", "3", "-4", "2.0", "1.5", "many", None]
TEXTS = [
    "",
    " ",
    "a",
    "ab",
    "abc",
    "aab",
    "B",
    "é",
    "e\u0301",
    "漢字",
    "a\n",
    "٣",
    "5",
    "5.0",
    "%",
    "a_c",
    "nan",
    None,
]
MOMENTS = ["2024-01-01 00:00", "2024-01-01T10:00:00+02:00", "2024-03-31 02:30", "2024-02-01", "soon", None]
CELLS: dict[str, list[str | None]] = {
    "at": MOMENTS, "u": MOMENTS, "n": NUMBERS, "m": NUMBERS, "i": WHOLE, "j": WHOLE,
    "b": ["true", "false", "perhaps", None], "s": TEXTS, "t": TEXTS,
}  # fmt: skip
PATTERNS = [
    "a",
    "^a",
    "a$",
    "^$",
    r"^\w+$",
    r"\d",
    r"\S",
    ".",
    "^.$",
    "(ab)+",
    "a|é",
    "[^a]",
    r"\ba",
    "(?i)b",
]

numbers = st.sampled_from([-3, 0, 1, 2, 2.5, 0.1, 1000])
texts = st.sampled_from([text for text in TEXTS if text is not None])
moments = st.sampled_from(["2024-01-01", "2024-01-01T08:00:00Z", "2024-02-01 00:00", "2024-03-31T01:30:00Z"])
columns = st.sampled_from(["n", "m", "i", "j", "s", "t", "at", "b"])
numeric = st.sampled_from(["n", "m", "i", "j"])
of_text = st.sampled_from(["s", "t"])
mostly = st.sampled_from([{}, {"mostly": 0.5}, {"mostly": 0.9}])
ignore_pairs = st.sampled_from(
    [
        {},
        *(
            {"ignore_row_if": word}
            for word in ("both_values_are_missing", "either_value_is_missing", "neither")
        ),
    ]
)
ignore_many = st.sampled_from(
    [{}, *({"ignore_row_if": word} for word in ("all_values_are_missing", "any_value_is_missing", "never"))]
)


@st.composite
def bounds(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    """One bound or two in order, strict or not."""
    first, second = draw(values), draw(values)
    both = {"min_value": min(first, second), "max_value": max(first, second)}
    kept = draw(st.sampled_from([("min_value",), ("max_value",), ("min_value", "max_value")]))
    strict = {f"strict_{key[:3]}": draw(st.booleans()) for key in kept}
    return {key: both[key] for key in kept} | strict


@st.composite
def typed_values(draw: st.DrawFn, wanted: st.SearchStrategy[str]) -> tuple[str, Any]:
    """A column, and a strategy for values of its type."""
    column = draw(wanted)
    if KINDS[column] == "boolean":
        return column, st.booleans()
    of_kind = {"string": texts, "timestamp": moments}
    return column, of_kind.get(KINDS[column], numbers)


@st.composite
def column_with(draw: st.DrawFn, wanted: st.SearchStrategy[str], what: str) -> dict[str, Any]:
    """A column with bounds or a set of values of its type."""
    column, values = draw(typed_values(wanted))
    if what == "bounds":
        return {"column": column, **draw(bounds(values))}
    return {"column": column, "value_set": draw(st.lists(values, min_size=1, max_size=4, unique=True))}


def merged(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda drawn: {key: value for part in drawn for key, value in part.items()})


def of(column: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"column": column})


def fixed(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(values)


same_kind = st.sampled_from([("n", "m"), ("n", "i"), ("i", "j"), ("s", "t"), ("at", "u")])
pairs = same_kind.map(lambda pair: {"column_A": pair[0], "column_B": pair[1]})
lists = st.sampled_from([["n", "m"], ["i", "j", "n"], ["s", "t"], ["s", "n"], ["at", "s"], ["b", "i"]])
many = fixed(column_list=lists)
alike = fixed(column_list=st.sampled_from([["n", "m"], ["i", "j", "n"], ["s", "t"]]))
pair_values = st.one_of(
    fixed(
        column_A=st.sampled_from(["n", "i"]),
        column_B=st.sampled_from(["m", "j"]),
        value_pairs_set=st.lists(st.tuples(numbers, numbers), max_size=4),
    ),
    fixed(column_A=st.just("s"), column_B=st.just("t"), value_pairs_set=st.lists(st.tuples(texts, texts))),
    fixed(
        column_A=of_text,
        column_B=numeric,
        value_pairs_set=st.lists(st.tuples(texts, numbers), min_size=1, max_size=4),
    ),
)
pattern = st.sampled_from(PATTERNS)
shares = bounds(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
counts = bounds(st.integers(0, 8))

ROW_RULES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "expect_column_values_to_not_be_null": merged(of(columns), mostly),
    "expect_column_values_to_be_null": merged(of(columns), mostly),
    "expect_column_values_to_be_between": merged(
        column_with(st.sampled_from(["n", "i", "at"]), "bounds"), mostly
    ),
    "expect_column_values_to_be_in_set": merged(
        column_with(st.sampled_from(["n", "i", "s", "b"]), "set"), mostly
    ),
    "expect_column_values_to_not_be_in_set": merged(
        column_with(st.sampled_from(["n", "i", "s", "b"]), "set"), mostly
    ),
    "expect_column_values_to_be_unique": merged(of(columns), mostly),
    "expect_column_value_lengths_to_equal": merged(of(of_text), fixed(value=st.integers(0, 3)), mostly),
    "expect_column_value_lengths_to_be_between": merged(of(of_text), bounds(st.integers(0, 3)), mostly),
    "expect_column_values_to_match_regex": merged(of(of_text), fixed(regex=pattern), mostly),
    "expect_column_values_to_not_match_regex": merged(of(of_text), fixed(regex=pattern), mostly),
    "expect_column_values_to_match_regex_list": merged(
        of(of_text),
        fixed(regex_list=st.lists(pattern, min_size=1, max_size=3), match_on=st.sampled_from(["any", "all"])),
    ),
    "expect_column_values_to_not_match_regex_list": merged(
        of(of_text), fixed(regex_list=st.lists(pattern, min_size=1, max_size=3))
    ),
    "expect_column_values_to_be_increasing": merged(
        of(st.sampled_from(["n", "i", "at"])), fixed(strictly=st.booleans()), mostly
    ),
    "expect_column_values_to_be_decreasing": merged(
        of(st.sampled_from(["n", "i", "at"])), fixed(strictly=st.booleans()), mostly
    ),
}
RECORD_RULES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "expect_column_pair_values_to_be_equal": merged(pairs, ignore_pairs, mostly),
    "expect_column_pair_values_a_to_be_greater_than_b": merged(
        pairs, ignore_pairs, fixed(or_equal=st.booleans()), mostly
    ),
    "expect_column_pair_values_to_be_in_set": merged(pair_values, ignore_pairs, mostly),
    "expect_compound_columns_to_be_unique": merged(many, ignore_many, mostly),
    "expect_select_column_values_to_be_unique_within_record": merged(many, ignore_many, mostly),
    "expect_multicolumn_sum_to_equal": merged(
        fixed(column_list=st.sampled_from([["n", "m"], ["i", "j", "n"]]), sum_total=numbers), ignore_many
    ),
    "expect_multicolumn_values_to_be_equal": merged(alike, ignore_many, mostly),
}
PARTITION_RULES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "expect_table_row_count_to_be_between": counts,
    "expect_table_row_count_to_equal": fixed(value=st.integers(0, 8)),
    "expect_table_column_count_to_be_between": fixed(min_value=st.integers(8, 10), max_value=st.just(10)),
    "expect_table_column_count_to_equal": fixed(value=st.integers(8, 10)),
    "expect_table_columns_to_match_set": fixed(
        column_set=st.sampled_from([list(KINDS), ["id", "n"], [*KINDS, "x"]]), exact_match=st.booleans()
    ),
    "expect_table_columns_to_match_ordered_list": fixed(
        column_list=st.sampled_from([list(KINDS), list(KINDS)[::-1], ["id"]])
    ),
    "expect_column_to_exist": merged(of(columns), fixed(column_index=st.integers(0, 9))),
    "expect_column_max_to_be_between": column_with(st.sampled_from(["n", "i", "at"]), "bounds"),
    "expect_column_min_to_be_between": column_with(st.sampled_from(["n", "i", "at"]), "bounds"),
    "expect_column_mean_to_be_between": merged(of(numeric), bounds(numbers)),
    "expect_column_median_to_be_between": merged(of(numeric), bounds(numbers)),
    "expect_column_sum_to_be_between": merged(of(numeric), bounds(numbers)),
    "expect_column_stdev_to_be_between": merged(of(numeric), bounds(numbers)),
    "expect_column_unique_value_count_to_be_between": merged(of(columns), counts),
    "expect_column_proportion_of_unique_values_to_be_between": merged(of(columns), shares),
    "expect_column_proportion_of_non_null_values_to_be_between": merged(of(columns), shares),
    "expect_column_distinct_values_to_be_in_set": column_with(st.sampled_from(["n", "i", "s"]), "set"),
    "expect_column_distinct_values_to_contain_set": column_with(st.sampled_from(["n", "i", "s"]), "set"),
    "expect_column_distinct_values_to_equal_set": column_with(st.sampled_from(["n", "i", "s"]), "set"),
    "expect_column_most_common_value_to_be_in_set": merged(
        column_with(st.sampled_from(["n", "i", "s"]), "set"), fixed(ties_okay=st.booleans())
    ),
    "expect_column_quantile_values_to_be_between": merged(
        of(numeric),
        fixed(
            quantile_ranges=st.lists(
                st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=3
            ).map(lambda shares: {"quantiles": shares, "value_ranges": [[0, 2] for _ in shares]})
        ),
    ),
}
EVERY = ROW_RULES | RECORD_RULES | PARTITION_RULES


@st.composite
def staged_rows(draw: st.DrawFn) -> list[dict[str, str | None]]:
    """A few rows as a source may write them."""
    found = draw(
        st.lists(
            st.fixed_dictionaries({name: st.sampled_from(cells) for name, cells in CELLS.items()}), max_size=8
        )
    )
    return [{"id": str(place), **row} for place, row in enumerate(found)]


def _spec(rules: list[tuple[str, dict[str, Any]]]) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {
            "name": "things",
            "description": "Things",
            "partition": "day",
            "timezone": "Europe/Berlin",
            "schedule": {"start": "2024-01-01"},
            "source": {"type": "files", "path": "{partition:%Y-%m-%d}.csv"},
            "columns": KINDS,
            "key": ["id"],
            "event_time": "at",
            "expectations": [
                {name: arguments | ({"severity": "quarantine"} if name in ROW_RULES | RECORD_RULES else {})}
                for name, arguments in rules
            ],
        }
    )


def _stage(rows: list[dict[str, str | None]], folder: Path) -> Path:
    schema = pa.schema([(name, pa.string()) for name in KINDS])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "staged.parquet")
    return folder / "staged.parquet"


@pytest.mark.parametrize(
    "rules", [ROW_RULES, RECORD_RULES, PARTITION_RULES], ids=["row", "record", "partition"]
)
def test_duckdb_and_great_expectations_agree(
    project: Project, rules: dict[str, st.SearchStrategy[dict[str, Any]]]
) -> None:
    compiled: set[str] = set()
    everything = st.tuples(*(st.tuples(st.just(name), arguments) for name, arguments in rules.items()))

    @given(rows=staged_rows(), drawn=everything)
    @settings(max_examples=30, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    def agree(rows: list[dict[str, str | None]], drawn: tuple[tuple[str, dict[str, Any]], ...]) -> None:
        spec = _spec(list(drawn))
        with open_rows(spec, _stage(rows, project.root), project.root) as opened:
            compiled.update(_compare(build_rules(spec), opened))

    agree()
    assert compiled == rules.keys()


def _compare(rules: list[Rule], rows: PartitionRows) -> set[str]:
    """Check that both engines agree; returns what was compiled."""
    theirs = pandas_engine.run(rules, rows, "p")
    ours, rest = duckdb_engine.run(rules, rows)
    assert ours.keys() | rest.keys() == theirs.keys()
    for place, (outcome, where) in ours.items():
        expected, expected_where = theirs[place]
        asked = rules[place].built.configuration.to_json_dict()
        case = f"{asked}\n{rows.frame()}\n{expected.success} {expected.result}"
        assert outcome.success == expected.success, case
        for key, value in outcome.result.items():
            assert _alike(key, value, expected.result[key]), f"{key}: {value}\n{case}"
        assert _rows(rows, where) == _rows(rows, expected_where), case
    return {rules[place].built.expectation_type for place in ours}


def _rows(rows: PartitionRows, where: str) -> list[int]:
    return [
        row for (row,) in rows.db.execute(f"SELECT _row FROM typed_rows WHERE {where} ORDER BY 1").fetchall()
    ]


def _alike(key: str, one: Any, other: Any) -> bool:
    if _is_missing(one) or _is_missing(other):
        return _is_missing(one) and _is_missing(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_alike(key, one[key], other[key]) for key in one)
    if key == "partial_missing_list":
        return set(one) == set(other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_alike, [key] * len(one), one, other))
    if isinstance(one, float | int) and not isinstance(one, bool):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return bool(_moment(one) == _moment(other))


def _moment(value: Any) -> Any:
    """NumPy's moments, which have no zone and mean UTC, as those of pandas."""
    return pd.Timestamp(value).tz_localize("UTC") if isinstance(value, np.datetime64) else value


def _is_missing(value: Any) -> bool:
    return value is None or value != value
