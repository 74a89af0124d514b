"""What a user may write about a dataset: source, partition, columns, expectations."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ByteSize, Field, model_validator

from include.lifecycle.spec.quantities import Duration
from include.lifecycle.spec.value import Value

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
ColumnType = Literal["string", "integer", "number", "boolean", "timestamp"]


class FilesSource(Value):
    """Files in a folder, one or more per partition."""

    type: Literal["files"]
    path: str
    """Path with the partition's start in it, such as `flights/{partition:%Y-%m-%d}.csv.gz`;
    relative paths start at the landing folder (PERENNIAL_LANDING)."""
    format: Literal["csv", "parquet", "jsonl"] = "csv"
    max_size: ByteSize = ByteSize(1 << 30)
    """Largest size of one file, unpacked."""

    @model_validator(mode="after")
    def _names_the_partition(self) -> Self:
        if "{partition" not in self.path:
            raise ValueError(f"path {self.path!r} must contain {{partition:%Y-%m-%d}} or the like")
        try:
            self.path.format(partition=datetime(2013, 1, 31))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"path {self.path!r} may name {{partition:%Y-%m-%d}} alone: {error}") from None
        return self


class Column(Value):
    """One column of the published table."""

    type: ColumnType
    known_after: Duration = timedelta(0)
    """How long after the event time this column is known; later than 0s keeps it from features."""


def _column(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class Schedule(Value):
    """The partitions that the source has, and when each is complete."""

    start: date
    """Start of the first partition."""
    end: date | None = None
    """Start of the last partition, where the source has ended."""


class Quarantine(Value):
    """What happens to rows that break an expectation."""

    max_share: float = Field(default=0.05, ge=0, le=1)
    """A partition with a greater share of bad rows is stopped and the previous one stays."""


class DatasetSpec(Value):
    """A source of rows, cut into partitions by time; a Delta table once published."""

    name: Identifier
    description: str
    owner: str = "data"
    tags: tuple[str, ...] = ()
    partition: Literal["hour", "day", "month"]
    schedule: Schedule
    source: FilesSource
    columns: dict[Identifier, Annotated[Column, BeforeValidator(_column)]] = Field(min_length=1)
    key: tuple[str, ...] = Field(min_length=1)
    """The columns that identify a row; a repeated key keeps the row with the newest event time."""
    event_time: str
    """The timestamp column that says when a row's event happened."""
    expectations: tuple[dict[str, dict[str, Any]], ...] = ()
    """Great Expectations by name, such as `expect_column_values_to_be_between: {column: …}`."""
    quarantine: Quarantine = Quarantine()

    @model_validator(mode="after")
    def _is_told_from_others(self) -> Self:
        if "__" in self.name:
            raise ValueError(
                f"rename the file: '__' in {self.name!r} belongs to the tables made from a dataset"
            )
        step = {"hour": timedelta(hours=1), "day": timedelta(days=1), "month": timedelta(days=31)}
        start, path = datetime(2013, 1, 1), self.source.path
        if path.format(partition=start) == path.format(partition=start + step[self.partition]):
            raise ValueError(
                f"source.path: {path!r} names one file for several partitions of a {self.partition}"
            )
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
        self._check_expectations()
        return self

    def _check_expectations(self) -> None:
        for index, expectation in enumerate(self.expectations):
            if len(expectation) != 1:
                raise ValueError(f"expectations.{index}: one expectation per item")
            ((name, arguments),) = expectation.items()
            for key in ("column", "column_A", "column_B"):
                if key in arguments:
                    require_column(arguments[key], self.columns, f"expectations.{index}.{name}.{key}")


def require_column(column: str, known: Any, place: str) -> None:
    """Raise ValueError, naming the nearest known column, when `column` is not among `known`."""
    if column not in known:
        raise ValueError(f"{place}: unknown column {column!r}{nearest(column, known)}")


def nearest(word: str, known: Any) -> str:
    """A hint such as ``; did you mean 'origin'?``, or the known words when none is near."""
    from difflib import get_close_matches

    known = [str(item) for item in known]
    if close := get_close_matches(str(word), known, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""
