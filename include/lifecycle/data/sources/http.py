"""Rows of a JSON API, page by page."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from typing import Any, cast

import httpx
import msgspec
import pyarrow as pa
from pydantic import ByteSize

from include.lifecycle.data.partitions import Partition
from include.lifecycle.data.sources.asking import ask
from include.lifecycle.data.sources.json_rows import json_batches
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.source import CursorPages, HttpSource, LinkPages, OffsetPages
from include.lifecycle.store.connections import Connection, Connections
from include.lifecycle.store.scratch import scratch_folder

_NO_LIMIT = ByteSize(1 << 62)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
# Both log whole URLs, in which an API may want a key.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Http:
    """All pages are written to a scratch file of JSON lines before the first row is handed on: the
    columns are known then, and an API that fails half-way gives nothing."""

    def __init__(self, spec: DatasetSpec, partition: Partition, connections: Connections) -> None:
        self._source = cast(HttpSource, spec.source)
        self._bounds = {"start": partition.start, "end": partition.end}
        self._connections = connections
        self._path = "/" + self._source.path.format(**self._bounds).lstrip("/")
        self._origin = f"connection {self._source.connection!r}: {self._path.split('?')[0]}"

    def fingerprint(self) -> None:
        """An API cannot tell whether its rows changed."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of all pages, in their order."""
        with scratch_folder("pages") as folder:
            file = folder / "rows.jsonl"
            with file.open("wb") as copy:
                for rows in self._pages():
                    # Within a JSON value a line break is never more than a blank.
                    copy.writelines(
                        bytes(row).replace(b"\n", b" ").replace(b"\r", b" ") + b"\n" for row in rows
                    )
            yield from json_batches(file, self._origin, _NO_LIMIT, part="answer")

    def _pages(self) -> Iterator[list[msgspec.Raw]]:
        """The rows of each page; raises Rejected when a page comes again, or more than max_pages."""
        connection, seen = self._connections(self._source.connection), set()
        with _client(connection) as client:
            asked: httpx.URL | None = httpx.URL(
                f"{client.base_url}".rstrip("/") + self._path
            ).copy_merge_params(
                {key: text.format(**self._bounds) for key, text in self._source.parameters.items()}
            )
            rows_before = 0
            for _ in range(self._source.max_pages):
                assert asked is not None
                answer, page = ask(client, asked, connection, self._origin)
                rows = self._rows(page)
                digest = hashlib.sha256(b"\n".join(map(bytes, rows))).digest()
                if rows and digest in seen:
                    raise Rejected(
                        f"{self._origin}: the API gives the same page again and again, nothing was taken "
                        "from it; mend source.pages (does the API know that parameter?), then clear this task"
                    )
                seen.add(digest)
                yield rows
                rows_before += len(rows)
                asked = self._next(asked, answer, page, len(rows), rows_before)
                if asked is None:
                    return
        raise Rejected(
            f"{self._origin}: more than source.max_pages ({self._source.max_pages}) pages, nothing was taken "
            "from it; the API seems to have no end: raise max_pages if it is right, then clear this task"
        )

    def _next(
        self, asked: httpx.URL, answer: httpx.Response, page: bytes, rows: int, rows_before: int
    ) -> httpx.URL | None:
        """Where the next page is; None after the last one."""
        pages = self._source.pages
        if isinstance(pages, OffsetPages) and rows:
            return asked.copy_set_param(pages.parameter, str(rows_before))
        if isinstance(pages, CursorPages):
            cursor = self._cursor(pages, page)
            return asked.copy_set_param(pages.parameter, cursor) if cursor else None
        if isinstance(pages, LinkPages) and (link := answer.links.get("next", {}).get("url")):
            return self._same_host(asked, asked.join(link))
        return None

    def _same_host(self, asked: httpx.URL, wanted: httpx.URL) -> httpx.URL:
        if (wanted.scheme, wanted.netloc) != (asked.scheme, asked.netloc):
            raise Rejected(
                f"{self._origin}: the next page lies on another host ({wanted.host}), which does not get "
                "this connection's credentials; mend the connection's host or the API"
            )
        return wanted

    def _cursor(self, pages: CursorPages, page: bytes) -> str:
        value: Any = msgspec.json.decode(page)
        for key in pages.path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return "" if value is None or value is False else str(value)

    def _rows(self, page: bytes) -> list[msgspec.Raw]:
        """The list of rows in a page; raises Rejected when it lies elsewhere."""
        value, found = page, ""
        try:
            for key in filter(None, self._source.rows.split(".")):
                keys = _OBJECT.decode(value)
                found = f" (found: {', '.join(keys) or 'nothing'})"
                value = bytes(keys[key])
            rows = _LIST.decode(value)
        except (msgspec.DecodeError, KeyError):
            where = f"at {self._source.rows!r}" if self._source.rows else "in the answer"
            raise Rejected(
                f"{self._origin}: no list of rows {where}{found}; mend source.rows, then clear this task"
            ) from None
        if any(bytes(row)[:1] != b"{" for row in rows):
            raise Rejected(f"{self._origin}: its rows are not JSON objects; mend source.rows") from None
        return rows


def _client(connection: Connection) -> httpx.Client:
    """Credentials as Airflow's HTTP connections hold them; text in the extra becomes headers."""
    scheme = connection.schema or ("https" if connection.conn_type == "https" else "http")
    base = httpx.URL(connection.host if "://" in connection.host else f"{scheme}://{connection.host}")
    headers = {key: value for key, value in connection.extra.items() if isinstance(value, str)}
    if connection.password and not connection.login:
        headers["Authorization"] = f"Bearer {connection.password}"
    return httpx.Client(
        base_url=base.copy_with(port=connection.port) if connection.port else base,
        auth=(connection.login, connection.password) if connection.login else None,
        headers={"Accept": "application/json", **headers},
        timeout=30,
    )
