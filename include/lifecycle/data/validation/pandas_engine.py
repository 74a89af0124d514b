"""Runs expectations in Great Expectations itself, on the rows as a pandas frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from include.lifecycle.data.partition_rows import PartitionRows
from include.lifecycle.data.validation.suite import Rule


def run(rules: Sequence[Rule], rows: PartitionRows, partition: str) -> dict[int, tuple[Any, str]]:
    """By each rule's place: Great Expectations' result, and SQL that is true where a row breaks it."""
    if not rules:
        return {}
    outcome = _validate(rules, rows, partition)
    return {
        single.expectation_config.meta["place"]: (single, _where(single, rows)) for single in outcome.results
    }


def _validate(rules: Sequence[Rule], rows: PartitionRows, partition: str) -> Any:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("staging").add_dataframe_asset(rows.spec.name)
    frame = rows.frame(_needed(rules, rows))
    batch = asset.add_batch_definition_whole_dataframe(partition).get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name=rows.spec.name, expectations=[rule.built for rule in rules])
    return batch.validate(suite, result_format={"result_format": "COMPLETE"})


def _needed(rules: Sequence[Rule], rows: PartitionRows) -> list[str] | None:
    """The columns that the rules are about, or None for all."""
    needed = set()
    for rule in rules:
        arguments = rule.built.configuration.kwargs
        named = [arguments[key] for key in ("column", "column_A", "column_B") if key in arguments]
        named += arguments.get("column_list") or []
        if not rule.judges_rows or arguments.get("row_condition") or not set(named) <= set(rows.columns):
            return None
        needed |= set(named)
    return [name for name in rows.columns if name in needed]


def _where(single: Any, rows: PartitionRows) -> str:
    """SQL for the rows that Great Expectations names; they are kept as a table."""
    places = single.result.get("unexpected_index_list") or []
    if single.success or not places:
        return "false"
    table = f"gx_rows_{single.expectation_config.meta['place']}"
    found = pa.table({"_row": pa.array([int(place) for place in places], pa.int64())})
    rows.keep(table, found)
    return f"_row IN (SELECT _row FROM {table})"
