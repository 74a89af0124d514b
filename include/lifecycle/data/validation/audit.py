"""Audits one partition by Great Expectations' rules: which rows break which, and what stops it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from include.lifecycle.data.partition_rows import Broken, PartitionRows
from include.lifecycle.data.validation import duckdb_engine, pandas_engine
from include.lifecycle.data.validation.page import render_page
from include.lifecycle.data.validation.suite import Rule, build_rules
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec

_ALL_ROWS = ("unexpected_list", "unexpected_index_list")


@dataclass(frozen=True)
class Audit:
    """What an audit of a partition found."""

    broken: tuple[Broken, ...]
    """Rules whose rows go to quarantine, in the YAML's order."""
    stops: tuple[str, ...]
    """Rules that stop the partition, with what was observed."""
    warnings: tuple[str, ...]
    """Rules that only say so."""
    engines: dict[str, str]
    """Of a large partition, the rules that ran in Great Expectations, and why."""
    result: str
    """Great Expectations' result as JSON."""
    page: str
    """Great Expectations' result as a page for people."""


def audit(rows: PartitionRows, partition: str) -> Audit:
    """Validate exactly these rows against the dataset's expectations.

    From `validation.compile_above` rows on in DuckDB, as far as its SQL says the same, below in Great
    Expectations. Raises Rejected when an expectation is unknown or cannot be computed.
    """
    rules = build_rules(rows.spec)
    large = rows.count >= rows.spec.validation.compile_above
    compiled, rest = duckdb_engine.run([rule for rule in rules if large or rule.has_no_pandas], rows)
    waiting = [rule for rule in rules if rule.place not in compiled]
    for rule in waiting:
        if rule.has_no_pandas:
            raise Rejected(f"{rows.spec.name}.yaml: expectation {rule.name}: {rest[rule.place]}; mend it")
    found = compiled | pandas_engine.run(waiting, rows, partition)
    return _judge(rows.spec, partition, rules, found, rest if large else {}, whole=not large)


def judge_quarantine(
    spec: DatasetSpec, stops: Iterable[str], rows: int, quarantined: Mapping[str, int]
) -> str | None:
    """Why the partition must not be published, or None when it may."""
    if broken := "; ".join(stops):
        return f"the partition breaks {broken}"
    bad = sum(quarantined.values())
    share = bad / rows if rows else 0.0
    if share > spec.quarantine.max_share:
        rules = ", ".join(f"{rule}: {count}" for rule, count in quarantined.items())
        return (
            f"{bad} of {rows} rows ({share:.1%}) break a rule ({rules}); "
            f"quarantine.max_share allows {spec.quarantine.max_share:.1%}"
        )
    return None


def _judge(
    spec: DatasetSpec,
    partition: str,
    rules: list[Rule],
    found: dict[int, Any],
    rest: dict[int, str],
    *,
    whole: bool,
) -> Audit:
    broken: list[Broken] = []
    stops: list[str] = []
    warnings: list[str] = []
    for rule in rules:
        outcome, where = found[rule.place]
        if error := _computation_error(outcome):
            raise Rejected(f"{spec.name}.yaml: expectation {rule.name} cannot be computed: {error}")
        if outcome.success:
            continue
        if rule.severity == "quarantine":
            broken.append(Broken(rule.name, where))
        else:
            (stops if rule.severity == "stop" else warnings).append(f"{rule.name} ({_observed(outcome)})")
    engines = {rules[place].name: f"run in Great Expectations: {why}" for place, why in rest.items()}
    outcomes = [found[rule.place][0] for rule in rules]
    outcome = _result(spec, partition, outcomes, engines, whole)
    result = json.dumps(outcome.to_json_dict())
    severities = {rule.name: rule.severity for rule in rules}
    page = render_page(outcome, f"{spec.name}, partition {partition}", severities)
    return Audit(tuple(broken), tuple(stops), tuple(warnings), engines, result, page)


def _observed(outcome: Any) -> str:
    if "observed_value" not in outcome.result and "unexpected_count" in outcome.result:
        return f"{outcome.result['unexpected_count']} of {outcome.result['element_count']} rows"
    return f"observed {outcome.result.get('observed_value')}"


def _computation_error(outcome: Any) -> str | None:
    info = outcome.exception_info or {}
    for item in (info, *info.values()):
        if isinstance(item, dict) and item.get("raised_exception"):
            return str(item["exception_message"]).splitlines()[0]
    return None


def _result(
    spec: DatasetSpec, partition: str, outcomes: list[Any], engines: dict[str, str], whole: bool
) -> Any:
    """Great Expectations' result; of a large partition without the list of all broken rows."""
    from great_expectations import __version__
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.validator.util import recursively_convert_to_json_serializable
    from great_expectations.validator.validation_statistics import calc_validation_statistics

    for outcome in outcomes:
        for name in () if whole else _ALL_ROWS:
            outcome.result.pop(name, None)
        # Neither the page nor JSON can show NumPy's values.
        outcome.success = bool(outcome.success)
        outcome.result = json.loads(json.dumps(recursively_convert_to_json_serializable(outcome.result)))
    statistics = calc_validation_statistics(outcomes)
    return ExpectationSuiteValidationResult(
        success=statistics.success,
        results=outcomes,
        suite_name=spec.name,
        statistics={
            "evaluated_expectations": statistics.evaluated_expectations,
            "successful_expectations": statistics.successful_expectations,
            "unsuccessful_expectations": statistics.unsuccessful_expectations,
            "success_percent": statistics.success_percent,
        },
        meta={
            "great_expectations_version": __version__,
            "engines": engines,
            "partition": partition,
        },
    )
