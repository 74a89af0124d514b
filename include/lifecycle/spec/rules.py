"""What a user may write about when rows and partitions are right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from include.lifecycle.spec.nearest import require_column
from include.lifecycle.spec.value import Value

Severity = Literal["stop", "quarantine", "warn"]
"""What a broken rule does: stop the partition, quarantine the rows, or only say so."""


def _short_form_too(schema: dict[str, Any]) -> None:
    """Let editors take an expectation as `_from_yaml` does: as a person writes it, or in full."""
    full = {key: schema.pop(key) for key in ("type", "properties", "required", "additionalProperties")}
    known = {"column": {"type": "string"}, "severity": full["properties"]["severity"]}
    short = {
        "type": "object",
        "patternProperties": {"^expect_": {"type": "object", "properties": known}},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    schema["anyOf"] = [short, full]


class Expectation(Value):
    """One of Great Expectations' expectations, written `{expect_…: {column: …, severity: warn}}`."""

    model_config = ConfigDict(json_schema_extra=_short_form_too)

    name: str
    arguments: dict[str, Any]
    severity: Severity | None = Field(
        None, description="Without one, `quarantine` where rows break it and `stop` where the partition does."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        if not isinstance(value, dict) or set(value) & {"name", "arguments"}:
            return value
        if len(value) != 1:
            raise ValueError("one expectation per item, such as {expect_column_to_exist: {column: carrier}}")
        ((name, arguments),) = value.items()
        if not isinstance(arguments, dict):
            raise ValueError(f"{name}: arguments are written {{column: …}}")
        rest = {key: item for key, item in arguments.items() if key != "severity"}
        return {"name": name, "arguments": rest, "severity": arguments.get("severity")}


class Band(Value):
    """A measure of the partition that must lie near its median over the partitions before it."""

    measure: Literal["rows", "null_share", "distinct"]
    column: str | None = None
    """The column whose missing share or distinct values are measured."""
    of_last: int = Field(default=7, ge=1)
    """How many partitions before this one count."""
    at_least: int = Field(default=3, ge=1)
    """With fewer of them published, the rule is not judged."""
    within: float = Field(gt=0)
    """Distance from the median: as a share of it for rows and distinct, as a difference for null_share."""
    severity: Literal["stop", "warn"] = "stop"

    @model_validator(mode="after")
    def _names_its_column(self) -> Self:
        if (self.measure == "rows") == (self.column is not None):
            raise ValueError("column: `rows` has none; `null_share` and `distinct` need one")
        return self


class Reference(Value):
    """Columns whose values must be found in another dataset, as published."""

    columns: dict[str, str] = Field(min_length=1)
    """This dataset's column: the other's."""
    dataset: str
    severity: Severity = "quarantine"

    @property
    def rule(self) -> str:
        """Its name, as quarantine names it."""
        return f"reference: {', '.join(self.columns)} in {self.dataset}"


class Validation(Value):
    """How a partition is validated."""

    compile_above: int = Field(default=50_000, ge=0)
    """From so many rows on, expectations run as SQL in DuckDB where they can: same verdicts, flat memory."""


def check_rules(
    expectations: Iterable[Expectation], bands: Iterable[Band], references: Iterable[Reference], known: Any
) -> None:
    """Raise ValueError for a rule about a column that the dataset does not have."""
    for index, item in enumerate(expectations):
        for key in ("column", "column_A", "column_B"):
            if key in item.arguments:
                require_column(item.arguments[key], known, f"expectations.{index}.{item.name}.{key}")
    for index, band in enumerate(bands):
        if band.column is not None:
            require_column(band.column, known, f"bands.{index}.column")
    for index, reference in enumerate(references):
        for column in reference.columns:
            require_column(column, known, f"references.{index}.columns")
