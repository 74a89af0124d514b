"""Rows in objects of a bucket."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import urlsplit

import obstore
import pyarrow as pa
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from include.lifecycle.data.partitions import Partition
from include.lifecycle.data.sources.formats import read_file
from include.lifecycle.data.sources.packed import refuse_large
from include.lifecycle.data.sources.secrets import first_line
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.source import ObjectStoreSource
from include.lifecycle.store.connections import Connection, Connections
from include.lifecycle.store.objects import is_full
from include.lifecycle.store.scratch import scratch_folder

_MAGIC = re.compile(r"[*?]")


class ObjectStore:
    """The objects of one partition, in the order of their names; each is copied to a scratch file before
    it is read, so that a connection lost half-way takes nothing from it."""

    def __init__(self, spec: DatasetSpec, partition: Partition, connections: Connections) -> None:
        self._source = cast(ObjectStoreSource, spec.source)
        self._partition = partition
        self._connections = connections
        self._uri = self._source.uri.format(partition=partition.start)
        parts = urlsplit(self._uri)
        if "@" in parts.netloc:
            raise Rejected(
                f"{spec.name}.yaml: source.uri: credentials do not belong there; "
                "put them into a connection and name it as source.connection"
            )
        self._root, self._path = f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/")

    def fingerprint(self) -> str:
        """sha256 over names, etags and sizes of the objects."""
        found = [f"{item['path']}\0{item['e_tag']}\0{item['size']}\n" for item in self._objects()]
        return hashlib.sha256("".join(found).encode()).hexdigest()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of all objects, one after the other."""
        for item in self._objects():
            origin = f"{self._root}/{item['path']}"
            refuse_large(item["size"], origin, self._source.max_size)
            with scratch_folder("object") as folder:
                file = folder / PurePosixPath(item["path"]).name
                self._download(item["path"], file)
                yield from read_file(file, origin, self._source.format, self._source.max_size)

    def _objects(self) -> list[Any]:
        """Path, etag and size of the partition's objects; raises Rejected when there is none."""
        prefix = PurePosixPath(_MAGIC.split(self._path)[0] + "x").parent
        wanted = re.compile(_pattern(self._path))
        with self._errors(f"list {self._path}") as bucket:
            listed = obstore.list(bucket, str(prefix) if str(prefix) != "." else None)
            items = [item for some in listed for item in some if wanted.fullmatch(item["path"])]
        if not items:
            raise Rejected(
                f"no object {self._uri}: the partition {self._partition.name} has not arrived; "
                "put the object there, then clear this task"
            )
        return sorted(items, key=lambda item: str(item["path"]))

    def _download(self, path: str, file: Path) -> None:
        with self._errors(f"read {path}") as bucket, file.open("wb") as copy:
            for chunk in obstore.get(bucket, path):
                copy.write(chunk)

    @contextmanager
    def _errors(self, what: str) -> Iterator[Any]:
        """The bucket, whose errors become people's."""
        name = self._source.connection
        connection = self._connections(name) if name else Connection()
        who = f"connection {name!r}" if name else "the environment's credentials (AWS_ACCESS_KEY_ID, …)"
        try:
            yield _open(self._root, connection)
        except (BaseError, OSError, ValueError) as error:
            if is_full(error):
                raise
            status = _status(error)
            if status in (401, 403):
                raise Rejected(
                    f"bucket {self._root}: no right to {what}; mend {who} or the bucket's policy, "
                    "then clear this task"
                ) from None
            if 400 <= status < 500:
                raise Rejected(
                    f"bucket {self._root}: not there to {what} ({status}); mend source.uri or {who}, "
                    "then clear this task"
                ) from None
            raise Transient(
                f"bucket {self._root} does not answer to {what}; retry when it is back: "
                f"{first_line(error, connection)}"
            ) from None


def _open(uri: str, connection: Connection) -> Any:
    """A client with the connection's credentials; what it leaves empty comes from the environment."""
    endpoint = str(connection.extra.get("endpoint_url") or "")
    options = {
        "aws_access_key_id": connection.login,
        "aws_secret_access_key": connection.password,
        "aws_endpoint_url": endpoint,
        "aws_region": str(connection.extra.get("region_name") or ""),
    }
    given: Any = {key: value for key, value in options.items() if value}
    plain: Any = {"allow_http": True} if endpoint.startswith("http://") else None
    return from_url(uri, config=given or None, client_options=plain)


def _status(error: Exception) -> int:
    """The HTTP status behind an error; 0 where there is none or a retry may help. Listing raises errors
    that bear it in their text alone."""
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return 403
    if isinstance(error, FileNotFoundError):
        return 404
    found = re.search(r"status code: (\d{3})", str(error))
    status = int(found.group(1)) if found else 0
    return 0 if status in (408, 429) else status


def _pattern(path: str) -> str:
    """A glob as a regular expression: `*` and `?` stay within a folder, `**` does not."""
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(known.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", path))
