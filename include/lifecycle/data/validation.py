"""Audits one partition with Great Expectations: which rows break which rule, which rules stop it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.nearest import nearest


@dataclass(frozen=True)
class Audit:
    """What an audit of a partition found."""

    rules: pd.Series
    """Per row, the first rule it breaks; missing where the row is good."""
    stops: tuple[str, ...]
    """Rules about the partition as a whole that it breaks."""
    result: str
    """Great Expectations' result as JSON."""
    page: str
    """Great Expectations' result as a page for people."""


def audit(spec: DatasetSpec, partition: str, rows: pd.DataFrame) -> Audit:
    """Validate exactly these rows against the dataset's expectations.

    Raises Rejected when an expectation is unknown or cannot be computed.
    """
    outcome = _validate(spec, partition, rows)
    rules = pd.Series(pd.NA, index=rows.index, dtype="string")
    stops = []
    for single in outcome.results:
        name = _rule_name(single)
        if broken := _computation_error(single):
            raise Rejected(f"{spec.name}.yaml: expectation {name} cannot be computed: {broken}")
        if single.success:
            continue
        if unexpected := single.result.get("unexpected_index_list"):
            rules.loc[unexpected] = rules.loc[unexpected].fillna(name)
        else:
            stops.append(f"{name} (observed {single.result.get('observed_value')})")
    return Audit(rules, tuple(stops), json.dumps(outcome.to_json_dict()), _page(outcome))


def judge_quarantine(spec: DatasetSpec, audit: Audit, rows_in: int, quarantined: int) -> str | None:
    """Why the partition must not be published, or None when it may."""
    if audit.stops:
        return f"the partition breaks {'; '.join(audit.stops)}"
    share = quarantined / rows_in
    if share > spec.quarantine.max_share:
        return (
            f"{quarantined} of {rows_in} rows ({share:.1%}) break a rule; "
            f"quarantine.max_share allows {spec.quarantine.max_share:.1%}"
        )
    return None


def build_expectations(spec: DatasetSpec) -> list[Any]:
    """The dataset's expectations as Great Expectations' objects; raises Rejected for a bad one."""
    from great_expectations.exceptions.exceptions import ExpectationNotFoundError
    from great_expectations.expectations import registry

    built = []
    for index, item in enumerate(spec.expectations):
        name, arguments = item.name, item.arguments
        try:
            built.append(registry.get_expectation_impl(name)(**arguments))
        except ExpectationNotFoundError:
            known = registry.list_registered_expectation_implementations()
            raise Rejected(
                f"{spec.name}.yaml: expectations.{index}: unknown {name!r}{nearest(name, known)}"
            ) from None
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise Rejected(f"{spec.name}.yaml: expectations.{index}.{name}: {reason}") from None
    return built


def _validate(spec: DatasetSpec, partition: str, rows: pd.DataFrame) -> Any:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("staging").add_dataframe_asset(spec.name)
    batch = asset.add_batch_definition_whole_dataframe(partition).get_batch({"dataframe": rows})
    suite = gx.ExpectationSuite(name=spec.name, expectations=build_expectations(spec))
    return batch.validate(suite, result_format={"result_format": "COMPLETE"})


def _page(outcome: Any) -> str:
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    content = ValidationResultsPageRenderer().render(outcome)
    return str(DefaultJinjaPageView().render(content))  # type: ignore[no-untyped-call]


def _rule_name(single: Any) -> str:
    config = single.expectation_config
    columns: Sequence[str] = [
        str(config.kwargs[key]) for key in ("column", "column_A", "column_B") if key in config.kwargs
    ]
    return f"{config.type}: {', '.join(columns)}" if columns else str(config.type)


def _computation_error(single: Any) -> str | None:
    for info in (single.exception_info or {}).values():
        if isinstance(info, dict) and info.get("raised_exception"):
            return str(info["exception_message"]).splitlines()[0]
    return None
