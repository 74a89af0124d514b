"""Reads a source as the extraction does, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.data.sources import Source, open_source
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.store.connections import Connection, Connections
from tests.servers import only

Row = dict[str, str | None]


def dataset(source: Mapping[str, Any], **more: Any) -> DatasetSpec:
    """A small dataset with that source."""
    said = {
        "name": "sky",
        "description": "Rain per city and hour",
        "partition": "day",
        "schedule": {"start": "2024-01-01"},
        "source": source,
        "columns": {"city": "string", "at": "timestamp", "rain": "number"},
        "key": ["city", "at"],
        "event_time": "at",
    }
    return DatasetSpec.model_validate(said | more)


def opened(spec: DatasetSpec, connections: Connections, partition: str = "2024-01-01") -> Source:
    """The source of a partition."""
    return open_source(spec, calendar_of(spec).named(partition), connections)


def rows_of(
    spec: DatasetSpec, connection: Connection | None = None, partition: str = "2024-01-01"
) -> list[Row]:
    """All rows of a partition's source."""
    source = opened(spec, only(connection or Connection()), partition)
    return [row for batch in source.batches() for row in batch.to_pylist()]
