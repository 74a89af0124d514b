"""Runs expectations in DuckDB: it measures, and Great Expectations' own code judges what it measured."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from include.lifecycle.data.literals import NotCompiled
from include.lifecycle.data.partition_rows import PartitionRows
from include.lifecycle.data.validation.conditions import condition
from include.lifecycle.data.validation.expectations import SHOWN, Compute, Scan, compute
from include.lifecycle.data.validation.suite import Rule

_Asked = dict[str, tuple[Any, Compute]]
"""By a metric's name, how Great Expectations configures it, and its value, later."""
_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": SHOWN}


def run(rules: Sequence[Rule], rows: PartitionRows) -> tuple[dict[int, tuple[Any, str]], dict[int, str]]:
    """By each rule's place: Great Expectations' result, and SQL that is true where a row breaks it; and
    why a rule must run elsewhere."""
    scan = Scan(rows.db, rows.columns)
    asked: dict[int, _Asked] = {}
    found: dict[int, tuple[Any, str]] = {}
    rest: dict[int, str] = {}
    for rule in rules:
        try:
            asked[rule.place] = _ask(rule, scan)
        except NotCompiled as error:
            rest[rule.place] = str(error)
    for rule in rules:
        try:
            if rule.place in asked:
                found[rule.place] = _judge(rule, asked[rule.place], scan)
        except NotCompiled as error:
            rest[rule.place] = str(error)
    return found, rest


def _ask(rule: Rule, scan: Scan) -> _Asked:
    """What Great Expectations needs to judge a rule."""
    asked = [
        (needed, compute(needed.metric_name, needed.metric_domain_kwargs, needed.metric_value_kwargs, scan))
        for needed in _needed(rule)
    ]
    return {needed.metric_name: (needed, value) for needed, value in asked}


def _needed(rule: Rule) -> list[Any]:
    from great_expectations.exceptions.exceptions import GreatExpectationsError

    try:
        found = rule.built.get_validation_dependencies(
            execution_engine=_no_engine(), runtime_configuration={"result_format": dict(_FORMAT)}
        )
    except GreatExpectationsError as error:
        raise NotCompiled(str(error).splitlines()[0]) from None
    return list(found.metric_configurations.values())


@cache
def _no_engine() -> Any:
    """Great Expectations' pandas engine without any data: it names the metrics that a rule needs."""
    from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine

    return PandasExecutionEngine()


def _judge(rule: Rule, asked: _Asked, scan: Scan) -> tuple[Any, str]:
    outcome = rule.built.metrics_validate(
        metrics={needed.id: value() for needed, value in asked.values()},
        runtime_configuration={"result_format": dict(_FORMAT)},
        execution_engine=_no_engine(),
    )
    if rule.severity != "quarantine" or outcome.success:
        return outcome, "false"
    needed, _ = asked[f"{rule.built.map_metric}.unexpected_count"]
    found = condition(
        rule.built.map_metric, needed.metric_domain_kwargs, needed.metric_value_kwargs, scan.columns
    )
    if not found.rows:
        return outcome, found.unexpected
    table = f"broken_rows_{rule.place}"
    scan.keep(table, found.rows)
    return outcome, f"_row IN (SELECT _row FROM {table})"
