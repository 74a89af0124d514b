"""SQL's own patterns find what they find in Great Expectations on PostgreSQL; it has none on data frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import great_expectations as gx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from great_expectations.data_context.types.base import ProgressBarsConfig
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from include.lifecycle.data.partition_rows import PartitionRows, open_rows
from include.lifecycle.data.validation import duckdb_engine
from include.lifecycle.data.validation.suite import Rule, build_rules
from include.lifecycle.spec.dataset import DatasetSpec
from tests.lifecycle.tiny import Project
from tests.servers import Database

Asked = Sequence[tuple[str, dict[str, Any]]]
"""Expectations and their arguments."""
Judge = Callable[[Sequence[Rule], Sequence[str | None]], list[Any]]
"""Great Expectations' results for rules about a column of these values."""
Judged = tuple[Rule, Any, list[str]]
"""A rule, its result, and the values of the rows that break it."""

SIGNS = ["a", "A", "é", "É", "漢", "😀", "\\", "%", "_", "!", "'", '"', "\n", " "]
ONE, NOT_ONE = "expect_column_values_to_match_like_pattern", "expect_column_values_to_not_match_like_pattern"
SOME, NONE = f"{ONE}_list", f"{NOT_ONE}_list"
EVERY = (ONE, NOT_ONE, SOME, NONE)

signs = st.sampled_from(SIGNS) | st.characters(codec="utf-8", exclude_characters="\0")
pattern = st.text(st.sampled_from([*SIGNS, "%", "%", "_", "_", "\\", "\\", "!"]), max_size=5)
more = {
    "escape": st.sampled_from([None, "\\", "!", "'", "%", "_", "é"]),
    "mostly": st.sampled_from([0.3, 0.5, 0.9]),
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str | None], Asked]:
    """Values, most of them close to some patterns, and each rule once with these."""
    wanted = draw(st.lists(pattern, min_size=1, max_size=3))
    value = st.one_of(st.none(), st.text(signs, max_size=3), *map(_near, wanted))
    one = {"like_pattern": st.sampled_from(wanted)}
    some = {"like_pattern_list": st.just(wanted)}
    asked = {ONE: one, NOT_ONE: one, SOME: some | {"match_on": st.sampled_from(["any", "all"])}, NONE: some}
    drawn = [(name, draw(st.fixed_dictionaries(asked[name], optional=more))) for name in EVERY]
    return draw(st.lists(value, max_size=12)), drawn


def _near(pattern: str) -> st.SearchStrategy[str]:
    """The pattern itself, without its backslashes, or with some of its signs left out or replaced."""
    others = (st.sampled_from([sign, sign, sign, sign.swapcase(), "é", ""]) for sign in pattern)
    return st.sampled_from([pattern, pattern.replace("\\", "")]) | st.tuples(*others).map("".join)


UNDERSCORES: list[str | None] = ["a_b", "axb", "a\\_b", "a\\xb", "", None]
ESCAPED = [
    (ONE, {"like_pattern": "a\\_b"}),
    (NOT_ONE, {"like_pattern": "a\\\\_b"}),
    (SOME, {"like_pattern_list": ["a!_%", "%\\_b"], "escape": "!", "match_on": "all"}),
    (NONE, {"like_pattern_list": ["a_b", "a\\_b"], "escape": "_", "mostly": 0.5}),
]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """Great Expectations on a PostgreSQL of its own."""
    with Database() as database:
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        uri = f"postgresql+psycopg://postgres@localhost/postgres?host={database.connection().host}"
        source = context.data_sources.add_postgres("postgres", connection_string=uri)
        engine = source.get_engine()
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE things (s text)"))
        batches = source.add_table_asset("things").add_batch_definition_whole_table("all")

        def judge(rules: Sequence[Rule], found: Sequence[str | None]) -> list[Any]:
            with engine.begin() as connection:
                connection.execute(sa.text("TRUNCATE things"))
                for value in found:
                    connection.execute(sa.text("INSERT INTO things VALUES (:s)"), {"s": value})
            suite = gx.ExpectationSuite(name="things", expectations=[rule.built for rule in rules])
            judged = batches.get_batch().validate(suite).results
            by_place = {single.expectation_config.meta["place"]: single for single in judged}
            return [by_place[rule.place] for rule in rules]

        yield judge
        engine.dispose()


def _rules(drawn: Asked) -> tuple[DatasetSpec, list[Rule]]:
    spec = DatasetSpec.model_validate(
        {
            "name": "things",
            "description": "Things",
            "partition": "day",
            "schedule": {"start": "2024-01-01"},
            "source": {"type": "files", "path": "{partition:%Y-%m-%d}.csv"},
            "columns": {"s": "string", "at": "timestamp"},
            "key": ["s"],
            "event_time": "at",
            "expectations": [
                {name: {"column": "s", **arguments, "severity": "quarantine"}} for name, arguments in drawn
            ],
        }
    )
    return spec, build_rules(spec)


def _run(drawn: Asked, found: Sequence[str | None], folder: Path) -> tuple[list[Judged], dict[int, str]]:
    """What DuckDB finds, and why some rules are not compiled."""
    spec, rules = _rules(drawn)
    table = pa.table({"s": pa.array(found, pa.string()), "at": pa.nulls(len(found), pa.string())})
    pq.write_table(table, folder / "staged.parquet")
    with open_rows(spec, folder / "staged.parquet", folder) as rows:
        compiled, refused = duckdb_engine.run(rules, rows)
        ours = [(rules[place], outcome, _where(rows, where)) for place, (outcome, where) in compiled.items()]
    return ours, refused


def _where(rows: PartitionRows, where: str) -> list[str]:
    return [value for (value,) in rows.db.execute(f"SELECT s FROM typed_rows WHERE {where}").fetchall()]


def test_duckdb_and_great_expectations_on_postgresql_agree(project: Project, judge: Judge) -> None:
    compiled: set[str] = set()

    @given(case=cases())
    @example(case=(UNDERSCORES, ESCAPED))
    @settings(max_examples=50, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    def agree(case: tuple[list[str | None], Asked]) -> None:
        found, drawn = case
        ours, refused = _run(drawn, found, project.root)
        theirs = judge([rule for rule, _, _ in ours], found) if ours else []
        for (rule, outcome, broken), expected in zip(ours, theirs, strict=True):
            said = f"{rule.built.configuration.kwargs}\n{found}\n{outcome.result}\n{expected}"
            assert outcome.success == expected.success, said
            assert _plain(outcome.result) == _plain(expected.result), said
            assert broken == ([] if outcome.success else expected.result["partial_unexpected_list"]), said
            compiled.add(rule.built.expectation_type)
        assert all(why == "escape é" or why.endswith("ends in its escape") for why in refused.values())

    agree()
    assert compiled == set(EVERY)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"like_pattern": "a%\\"}, "pattern a%\\ ends in its escape"),
        ({"like_pattern": "!a!!!", "escape": "!"}, "pattern !a!!! ends in its escape"),
        ({"like_pattern_list": ["a", "é%"], "escape": "é"}, "escape é"),
        ({"like_pattern": "a", "escape": {"$PARAMETER": "a"}}, "{'$PARAMETER': 'a'} for a string"),
        ({"like_pattern_list": {"$PARAMETER": "a"}}, "like_pattern_list or match_on"),
        ({"like_pattern_list": ["a"], "match_on": {"$PARAMETER": "a"}}, "like_pattern_list or match_on"),
    ],
)
def test_a_pattern_that_duckdb_may_read_otherwise_is_not_compiled(
    project: Project, arguments: dict[str, Any], why: str
) -> None:
    name = SOME if "like_pattern_list" in arguments else ONE
    assert _run([(name, arguments)], ["a"], project.root) == ([], {0: why})


def test_whether_postgresql_fails_at_a_pattern_that_ends_in_its_escape_depends_on_the_values(
    judge: Judge,
) -> None:
    _, rules = _rules([(ONE, {"like_pattern": "a%\\"})])
    (failed,) = judge(rules, ["ab"])
    assert "must not end with escape character" in str(failed.exception_info)
    (found,) = judge(rules, ["b"])
    assert found.result["unexpected_count"] == 1


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    names = (
        "element_count",
        "missing_count",
        "missing_percent",
        "unexpected_percent",
        "partial_unexpected_list",
    )
    # Of no rows at all, SQL's sum is no number.
    return {name: result[name] for name in names} | {"unexpected_count": result["unexpected_count"] or 0}
