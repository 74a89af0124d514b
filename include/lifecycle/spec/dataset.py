"""What a user may write about a dataset: source, partition, columns, expectations."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from include.lifecycle.spec.compute import Compute, SharedTraining
from include.lifecycle.spec.nearest import require_column
from include.lifecycle.spec.privacy import Drop, Generalise, Privacy, Pseudonym, Treatment
from include.lifecycle.spec.quantities import Duration, TimeZone
from include.lifecycle.spec.rules import Band, Expectation, Reference, Validation, check_rules
from include.lifecycle.spec.source import AnySource
from include.lifecycle.spec.value import Value

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Grain = Literal["hour", "day", "week", "month"]
_LENGTH: dict[Grain, timedelta] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=31),
}
ColumnType = Literal["string", "integer", "number", "boolean", "timestamp"]


class Column(Value):
    """One column of the published table."""

    type: ColumnType
    known_after: Duration = timedelta(0)
    """How long after the event time this column is known; later than 0s keeps it from features."""
    privacy: Treatment | None = None
    """What happens to its values before they are staged: `drop`, `pseudonym`, `{generalise: …}`, `keep`."""


def _column(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


def _in_order(columns: dict[str, Column]) -> list[dict[str, Any]]:
    """As JSON a list: canonical JSON sorts keys, and the table's columns stand as in the YAML."""
    return [{"name": name, **column.model_dump(mode="json")} for name, column in columns.items()]


def _by_name(value: Any) -> Any:
    if not isinstance(value, list) or not all(isinstance(item, dict) and "name" in item for item in value):
        return value
    return {item["name"]: {key: item[key] for key in item if key != "name"} for item in value}


Columns = Annotated[
    dict[Identifier, Annotated[Column, BeforeValidator(_column, json_schema_input_type=ColumnType | Column)]],
    Field(min_length=1, json_schema_extra={"additionalProperties": False}),
    BeforeValidator(_by_name),
    PlainSerializer(_in_order, when_used="json"),
]


class Schedule(Value):
    """The partitions that the source has, and when each is complete."""

    start: date
    """Start of the first partition."""
    end: date | None = None
    """Start of the last partition, where the source has ended."""


class SchemaChanges(Value):
    """What happens when the source's columns or the YAML's types differ from what is published."""

    new: Literal["ignore", "add", "stop"] = "ignore"
    """A column that the YAML does not name: leave it out, publish it as text, or stop the partition."""
    missing: Literal["stop", "fill"] = "stop"
    """A column that the source lacks: stop the partition, or fill it with nothing."""
    widened: Literal["stop", "rewrite"] = "stop"
    """A type in the YAML that is wider than the table's (integer, number, string): stop, or rewrite the
    table in one commit."""


class Quarantine(Value):
    """What happens to rows that break an expectation."""

    max_share: float = Field(default=0.05, ge=0, le=1)
    """A partition with a greater share of bad rows is stopped and the previous one stays."""
    keep: Duration = timedelta(days=90)
    """How long a row stays in quarantine."""


def _check_generalised(name: str, kind: ColumnType, way: Generalise) -> None:
    suited: dict[str, tuple[ColumnType, ...]] = {
        "width": ("number", "integer"),
        "period": ("timestamp",),
        "prefix": ("string",),
    }
    for how, kinds in suited.items():
        if getattr(way, how) is not None and kind not in kinds:
            raise ValueError(
                f"columns.{name}.privacy: {how} is for a column of type {' or '.join(kinds)}, not {kind}"
            )


class DatasetSpec(Value):
    """A source of rows, cut into partitions by time; a Delta table once published."""

    name: Identifier
    description: str
    owner: str = "data"
    tags: tuple[str, ...] = ()
    partition: Grain
    timezone: TimeZone = "UTC"
    """Where days, weeks and months begin at midnight, and what timestamps without an offset mean.
    Hours are always those of UTC, since a local hour comes twice in autumn."""
    lookback: int = Field(default=0, ge=0)
    """How many earlier partitions each scheduled run reads again, for rows that came late."""
    schedule: Schedule
    source: AnySource
    columns: Columns
    key: tuple[str, ...] = Field(min_length=1)
    """The columns that identify a row; a repeated key keeps the row with the newest event time."""
    event_time: str
    """The timestamp column that says when a row's event happened."""
    expectations: tuple[Expectation, ...] = ()
    """Great Expectations by name, such as `expect_column_values_to_be_between: {column: …}`."""
    bands: tuple[Band, ...] = ()
    """Rules against the partitions before."""
    references: tuple[Reference, ...] = ()
    """Rules against other datasets."""
    validation: Validation = Validation()
    quarantine: Quarantine = Quarantine()
    schema_changes: SchemaChanges = SchemaChanges()
    empty: Literal["stop", "publish"] = "stop"
    """A partition in which the source has no rows at all: an error, or published without rows."""
    privacy: Privacy | None = None
    """Policy on personal data; needed as soon as a column is a pseudonym."""
    compute: Annotated[dict[Literal["extract", "validate", "publish"], Compute], SharedTraining] = Field(
        default={}, exclude=True
    )
    """What each step needs of a machine; no part of what is computed."""

    @model_validator(mode="after")
    def _is_told_from_others(self) -> Self:
        if "__" in self.name:
            raise ValueError(
                f"rename the file: '__' in {self.name!r} belongs to the tables made from a dataset"
            )
        start = datetime(2013, 1, 1, tzinfo=UTC)
        if not self.source.tells_apart(start, start + _LENGTH[self.partition]):
            raise ValueError(f"source: it names the same rows for several partitions of a {self.partition}")
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        named = {"key": self.key, "event_time": (self.event_time,)}
        for place, columns in named.items():
            for column in columns:
                require_column(column, self.columns, place)
        if self.columns[self.event_time].type != "timestamp":
            raise ValueError(f"event_time: column {self.event_time!r} must be of type timestamp")
        if self.columns[self.event_time].known_after:
            raise ValueError(
                f"event_time: column {self.event_time!r} must be known at once; remove its known_after"
            )
        check_rules(self.expectations, self.bands, self.references, self.published)
        return self

    @model_validator(mode="after")
    def _is_private(self) -> Self:
        if lost := {*self.key, self.event_time} - set(self.published):
            raise ValueError(f"columns.{min(lost)}.privacy: the key and the event time cannot be dropped")
        for name, item in self.columns.items():
            if isinstance(item.privacy, Generalise):
                _check_generalised(name, item.type, item.privacy)
        for name in self.key:
            if isinstance(self.columns[name].privacy, Generalise):
                raise ValueError(f"columns.{name}.privacy: a key that is generalised names no row any more")
        pseudonyms = [name for name, item in self.columns.items() if isinstance(item.privacy, Pseudonym)]
        if pseudonyms and (self.privacy is None or self.privacy.key is None):
            raise ValueError(f"privacy.key: missing; column {pseudonyms[0]!r} is a pseudonym and needs a key")
        for name in pseudonyms:
            if self.columns[name].type != "string":
                raise ValueError(f"columns.{name}.type: a pseudonym is a string")
        if self.privacy is not None:
            for column in (*self.privacy.quasi_identifiers, *filter(None, [self.privacy.subject])):
                require_column(column, self.published, "privacy")
            if self.privacy.subject is not None:
                self._can_be_erased(self.privacy, self.privacy.subject)
        return self

    def _can_be_erased(self, privacy: Privacy, subject: str) -> None:
        if privacy.key is None:
            raise ValueError(
                f"privacy.key: missing; who is erased by {subject!r} is remembered by a hash with that key"
            )
        if isinstance(self.columns[subject].privacy, Generalise):
            raise ValueError(f"privacy.subject: {subject!r} is generalised and tells nobody; name another")

    @property
    def published(self) -> dict[str, Column]:
        """The columns that reach staging and the table: all but the dropped ones."""
        return {name: item for name, item in self.columns.items() if not isinstance(item.privacy, Drop)}
