"""Where a partition's rows come from: each kind of source is one class behind one protocol."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import pyarrow as pa

from include.lifecycle.data.partitions import Partition
from include.lifecycle.data.sources.files import Files, landing_place
from include.lifecycle.data.sources.http import Http
from include.lifecycle.data.sources.object_store import ObjectStore
from include.lifecycle.data.sources.sql import Sql
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.source import FilesSource
from include.lifecycle.store.connections import Connections

__all__ = ["Source", "landing_place", "module_hash", "open_source"]

_SOURCES: dict[str, type[Source]] = {"files": Files, "object_store": ObjectStore, "sql": Sql, "http": Http}


class Source(Protocol):
    """The rows of one partition, read in batches."""

    def __init__(self, spec: DatasetSpec, partition: Partition, connections: Connections) -> None:
        """`partition` has its bounds in the dataset's time zone; nothing is opened yet."""

    def fingerprint(self) -> str | None:
        """What the rows depend on, told without reading them: equal as long as they are the same.

        None where the source cannot tell. Raises Rejected when the partition has not arrived.
        """

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All columns that the source has, every value as the text that the source wrote; None where
        there is none. `data/sources/batches.py` makes such batches.

        Raises Rejected when the source can never be read whole, Transient when it may be later.
        """


def open_source(spec: DatasetSpec, partition: Partition, connections: Connections) -> Source:
    """The source of a dataset's partition: one of Perennial's, or the class `Source` of the module that
    the spec names as its type."""
    zone = ZoneInfo("UTC" if spec.partition == "hour" else spec.timezone)
    local = Partition(partition.start.astimezone(zone), partition.end.astimezone(zone), partition.name)
    if isinstance(spec.source, FilesSource) and "://" in landing_place():
        spec = spec.model_copy(update={"source": spec.source.in_bucket(landing_place())})
    kind = _SOURCES.get(spec.source.type) or _module(spec).Source
    return kind(spec, local, connections)


def module_hash(spec: DatasetSpec) -> str | None:
    """sha256 of the source code of a source that is not Perennial's own, since it is code of the call."""
    return None if spec.source.type in _SOURCES else _hash_of(_module(spec))


@cache
def _hash_of(module: Any) -> str:
    """Kept for as long as the module is loaded: a file that changes later is not the code that runs."""
    file = Path(str(module.__file__))
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    digest = hashlib.sha256()
    for item in files:
        digest.update(f"{item.relative_to(file.parent)}\0".encode() + item.read_bytes())
    return digest.hexdigest()


def _module(spec: DatasetSpec) -> Any:
    """The module of a source; raises Rejected when it has no class `Source`."""
    kind = spec.source.type
    try:
        module = importlib.import_module(kind)
    except ImportError as error:
        raise Rejected(f"{spec.name}.yaml: source.type: no module {kind!r}: {error}") from None
    if not hasattr(module, "Source"):
        raise Rejected(f"{spec.name}.yaml: source.type: module {kind!r} lacks a class Source; write one")
    return module
