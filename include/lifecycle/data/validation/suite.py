"""The rules of a dataset's YAML as Great Expectations' objects, and what each does when it is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from include.lifecycle.data.literals import moment_of
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.nearest import nearest
from include.lifecycle.spec.rules import Expectation, Severity


@dataclass(frozen=True)
class Rule:
    """One expectation, built."""

    place: int
    """Its place in the YAML."""
    name: str
    """Its name and columns, as quarantine names it."""
    severity: Severity
    judges_rows: bool
    built: Any
    """Great Expectations' object."""

    @property
    def has_no_pandas(self) -> bool:
        """Whether Great Expectations cannot compute it on data frames."""
        return "like_pattern" in self.built.expectation_type


def build_rules(spec: DatasetSpec) -> list[Rule]:
    """The dataset's expectations; raises Rejected for one that is unknown or has bad arguments."""
    return [_build(spec, place, item) for place, item in enumerate(spec.expectations)]


def _build(spec: DatasetSpec, place: int, item: Expectation) -> Rule:
    from great_expectations.exceptions.exceptions import ExpectationNotFoundError
    from great_expectations.expectations import expectation as kinds
    from great_expectations.expectations import registry

    where = f"{spec.name}.yaml: expectations.{place}"
    try:
        kind = registry.get_expectation_impl(item.name)
    except ExpectationNotFoundError:
        known = registry.list_registered_expectation_implementations()
        raise Rejected(f"{where}: unknown {item.name!r}{nearest(item.name, known)}") from None
    try:
        meta = {**(item.arguments.get("meta") or {}), "place": place}
        built = kind(**{**_with_offsets(spec, item.arguments), "meta": meta})
    except (TypeError, ValueError) as error:
        raise Rejected(f"{where}.{item.name}: {' '.join(str(error).split())}") from None
    of_rows = (kinds.ColumnMapExpectation, kinds.ColumnPairMapExpectation, kinds.MulticolumnMapExpectation)
    judges_rows = isinstance(built, of_rows)
    if item.severity == "quarantine" and not judges_rows:
        raise Rejected(f"{where}.{item.name}.severity: it judges the partition, not rows: use stop or warn")
    severity = item.severity or ("quarantine" if judges_rows else "stop")
    return Rule(place, _name(item), severity, judges_rows, built)


def _name(item: Expectation) -> str:
    columns: Sequence[Any] = [
        item.arguments[key] for key in ("column", "column_A", "column_B") if key in item.arguments
    ] or item.arguments.get("column_list", ())
    return f"{item.name}: {', '.join(map(str, columns))}" if columns else item.name


def _with_offsets(spec: DatasetSpec, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments; a bound of a timestamp column without an offset means the dataset's time zone."""
    column = spec.published.get(str(arguments.get("column")))
    if column is None or column.type != "timestamp":
        return arguments
    bounds = {key: arguments[key] for key in ("min_value", "max_value") if arguments.get(key) is not None}
    return arguments | {key: _moment(value, spec.timezone) for key, value in bounds.items()}


def _moment(value: Any, timezone: str) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    moment = moment_of(value)
    if moment is None:
        return value
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(timezone))
    return moment.astimezone(UTC).isoformat()
