"""What a user may write about where a dataset's rows come from."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ByteSize,
    Discriminator,
    Field,
    SerializeAsAny,
    Tag,
    WithJsonSchema,
    model_validator,
)

from include.lifecycle.spec.nearest import nearest
from include.lifecycle.spec.quantities import Bytes
from include.lifecycle.spec.value import Value

Format = Literal["csv", "parquet", "jsonl"]
_BUCKETS = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl", "file")


class SourceSpec(Value):
    """What all sources have in common: a type, which names the module that reads it."""

    type: str

    def tells_apart(self, one: datetime, other: datetime) -> bool:
        """Whether the source reads other rows for a partition that starts at another time."""
        return True


class FilesSource(SourceSpec):
    """Files in a folder, one or more per partition."""

    type: Literal["files"]
    path: str
    """Path or glob with the partition's start in it, such as `flights/{partition:%Y-%m-%d}*.csv.gz`;
    relative paths start at the landing folder, or in the landing bucket (PERENNIAL_LANDING)."""
    format: Format = "csv"
    max_size: Bytes = ByteSize(1 << 30)
    """Largest size of one file, unpacked."""

    @model_validator(mode="after")
    def _names_the_partition(self) -> Self:
        check_template(self.path, "path", "partition")
        return self

    def tells_apart(self, one: datetime, other: datetime) -> bool:
        """Whether the two partitions have files of their own."""
        return self.path.format(partition=one) != self.path.format(partition=other)

    def in_bucket(self, landing: str) -> ObjectStoreSource:
        """The same files where the landing folder is a bucket, such as `s3://landing/here`."""
        uri = f"{landing.rstrip('/')}/{self.path}"
        return ObjectStoreSource(type="object_store", uri=uri, format=self.format, max_size=self.max_size)


class ObjectStoreSource(SourceSpec):
    """Objects in a bucket, one or more per partition."""

    type: Literal["object_store"]
    uri: str
    """URI or glob with the partition's start in it, such as
    `s3://landing/flights/{partition:%Y-%m-%d}/*.parquet`."""
    connection: str | None = None
    """Airflow Connection with the bucket's credentials; without one, those of the environment."""
    format: Format = "csv"
    max_size: Bytes = ByteSize(1 << 30)
    """Largest size of one object, unpacked."""

    @model_validator(mode="after")
    def _names_the_partition(self) -> Self:
        check_template(self.uri, "uri", "partition")
        scheme, separator, place = self.uri.partition("://")
        if not separator or scheme not in _BUCKETS or place.startswith("/") != (scheme == "file"):
            raise ValueError(
                f"uri {self.uri!r} must start with a bucket, such as s3://landing/"
                f"{nearest('' if scheme in _BUCKETS else scheme, _BUCKETS)}"
            )
        return self

    def tells_apart(self, one: datetime, other: datetime) -> bool:
        """Whether the two partitions have objects of their own."""
        return self.uri.format(partition=one) != self.uri.format(partition=other)


class SqlSource(SourceSpec):
    """A query to PostgreSQL, with the partition's start and end as bound parameters."""

    type: Literal["sql"]
    connection: str
    """Airflow Connection of the database."""
    query: str
    """`SELECT … WHERE at >= %(start)s AND at < %(end)s`, both of type `timestamptz`; a literal per cent
    sign is written `%%`."""

    @model_validator(mode="after")
    def _binds_the_partition(self) -> Self:
        if missing := [name for name in ("%(start)s", "%(end)s") if name not in self.query]:
            raise ValueError(f"query must use {' and '.join(missing)}, the partition's bounds")
        if "'%(start)s'" in self.query or "'%(end)s'" in self.query:
            raise ValueError("query must use %(start)s and %(end)s without quotes: PostgreSQL binds them")
        return self


class CursorPages(Value):
    """The next page is asked for with a cursor from the page before."""

    by: Literal["cursor"]
    path: str
    """Where the next cursor lies in a page, such as `meta.next`; empty or missing: the last page."""
    parameter: str
    """The query parameter that takes it."""


class OffsetPages(Value):
    """The next page is asked for by the number of rows seen so far."""

    by: Literal["offset"]
    parameter: str = "offset"
    """The query parameter that takes it; a page without rows is the last one."""


class LinkPages(Value):
    """The next page is named by the `Link` header, `rel="next"`."""

    by: Literal["link"]


class HttpSource(SourceSpec):
    """JSON from an HTTP API, in pages."""

    type: Literal["http"]
    connection: str
    """Airflow Connection: host, and login with password, or a password alone as a bearer token."""
    path: str
    """Path below the host; `{start:…}` and `{end:…}` are the partition's bounds."""
    parameters: dict[str, str] = {}
    """Query parameters; `{start:%Y-%m-%d}` and `{end:…}` as in `path`."""
    rows: str = ""
    """Where the list of rows lies in a page, such as `data.items`; empty: the page is the list."""
    pages: Annotated[CursorPages | OffsetPages | LinkPages, Field(discriminator="by")] | None = None
    """How to get the next page; without it there is one page."""
    max_pages: int = Field(default=10_000, ge=1)
    """More pages than this are taken for an API that never ends."""

    @model_validator(mode="after")
    def _names_the_partition(self) -> Self:
        check_template(" ".join([self.path, *self.parameters.values()]), "path or parameters", "start", "end")
        return self


SOURCES: dict[str, type[SourceSpec]] = {
    "files": FilesSource,
    "object_store": ObjectStoreSource,
    "sql": SqlSource,
    "http": HttpSource,
}


def _tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if kind in SOURCES else "module"


def _from_module(value: Any) -> Any:
    """The source of a module that is not Perennial's: its `Spec` reads the YAML."""
    if isinstance(value, SourceSpec) or not isinstance(value, dict):
        return value
    kind = str(value.get("type"))
    if "." not in kind:
        raise ValueError(f"type: unknown source {kind!r}{nearest(kind, SOURCES)}")
    try:
        spec: Any = importlib.import_module(kind).Spec
    except (ImportError, AttributeError) as error:
        raise ValueError(f"type: module {kind!r} has no source: {error}") from None
    if not (isinstance(spec, type) and issubclass(spec, SourceSpec)):
        raise ValueError(f"type: {kind}.Spec must be a SourceSpec")
    return spec.model_validate(value)


_AnyKeys = WithJsonSchema(
    {"type": "object", "properties": {"type": {"type": "string", "pattern": r"\."}}, "required": ["type"]}
)
AnySource = Annotated[
    Annotated[FilesSource, Tag("files")]
    | Annotated[ObjectStoreSource, Tag("object_store")]
    | Annotated[SqlSource, Tag("sql")]
    | Annotated[HttpSource, Tag("http")]
    | Annotated[SerializeAsAny[SourceSpec], BeforeValidator(_from_module), _AnyKeys, Tag("module")],
    Discriminator(_tag),
]
"""One of Perennial's sources by its type, or that of a module: `type: company.sftp`."""


def check_template(text: str, place: str, *names: str) -> None:
    """Raise ValueError unless a template names one of the moments at least, and nothing else."""
    moment = datetime(2013, 1, 31, tzinfo=UTC)
    values = dict(zip(names, (moment, moment + timedelta(days=1)), strict=False))
    allowed = " and ".join(f"{{{name}:%Y-%m-%d}}" for name in names)
    if not any(f"{{{name}" in text for name in names):
        raise ValueError(f"{place} {text!r} must contain {allowed} or the like")
    try:
        text.format(**values)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{place} {text!r} may name {allowed} alone: {error}") from None
