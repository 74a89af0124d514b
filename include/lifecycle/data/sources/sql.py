"""Rows of a query to PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, cast

import psycopg
import pyarrow as pa

from include.lifecycle.data.partitions import Partition
from include.lifecycle.data.sources.batches import text_batch, text_schema
from include.lifecycle.data.sources.secrets import first_line
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.source import SqlSource
from include.lifecycle.store.connections import Connection, Connections

_ROWS = 5_000
_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout", "options")
# Classes of SQLSTATE that a retry may cure: connection, conflict, resources, operator, system.
_PASSING = ("08", "40", "53", "57", "58")
# Classes whose messages quote values of rows: data, integrity, functions of one's own.
_QUOTING = ("22", "23", "38", "39", "P0")
_PASSING_AT_START = ("starting up", "shutting down", "recovery", "too many", "remaining connection slots")
# SET takes no bound values; `true`: until the transaction ends, since a pool may lend the session on.
_CLOCK = "SELECT set_config('TimeZone', %s, true), set_config('DateStyle', 'ISO, YMD', true)"


class Sql:
    """One query in a read-only transaction; PostgreSQL itself binds the partition's bounds, as
    `timestamptz`, and turns the values of rows into text."""

    def __init__(self, spec: DatasetSpec, partition: Partition, connections: Connections) -> None:
        self._source = cast(SqlSource, spec.source)
        self._partition = partition
        self._zone = spec.timezone
        self._connections = connections
        self._origin = f"connection {self._source.connection!r}"

    def fingerprint(self) -> None:
        """A database cannot tell whether its rows changed."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of the query, fetched through a cursor that the server holds."""
        connection = self._connections(self._source.connection)
        with self._errors(connection), closing(self._connect(connection)) as database:
            names = self._columns(database)
            schema = text_schema(names, self._origin, "query")
            yield text_batch(schema)
            with database.cursor(name="perennial") as cursor:
                cursor.execute(self._query(", ".join(map(_as_text, names))), self._bounds)
                while rows := cursor.fetchmany(_ROWS):
                    yield text_batch(schema, zip(*rows, strict=True))

    @property
    def _bounds(self) -> dict[str, Any]:
        return {"start": self._partition.start, "end": self._partition.end}

    def _query(self, columns: str) -> str:
        return f"SELECT {columns} FROM (\n{self._source.query.strip().removesuffix(';')}\n) AS source"

    def _connect(self, connection: Connection) -> psycopg.Connection:
        if connection.conn_type not in ("", "generic", "postgres", "postgresql"):
            raise Rejected(
                f"{self._origin} is of type {connection.conn_type!r}; a sql source reads PostgreSQL alone: "
                "make it of type generic"
            )
        try:
            database = psycopg.connect(
                host=connection.host or None,
                port=connection.port,
                user=connection.login or None,
                password=connection.password or None,
                dbname=connection.schema or None,
                client_encoding="UTF8",
                **{key: connection.extra[key] for key in _OPTIONS if key in connection.extra},
            )
        except psycopg.Error as error:
            reason = first_line(error, connection)
            if "FATAL" in reason and not any(sign in reason for sign in _PASSING_AT_START):
                raise Rejected(
                    f"{self._origin}: refused ({reason}); mend it under Admin, Connections, then "
                    "clear this task"
                ) from None
            raise Transient(f"{self._origin}: no answer ({reason}); retry when it is back") from None
        database.read_only = True
        return database

    def _columns(self, database: psycopg.Connection) -> list[str]:
        """Names of the query's columns; the transaction's time zone becomes the dataset's."""
        with database.cursor() as cursor:
            cursor.execute(_CLOCK, (self._zone,))
            cursor.execute(f"{self._query('*')} LIMIT 0", self._bounds)
            return [column.name for column in cursor.description or ()]

    @contextmanager
    def _errors(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, UnicodeError) as error:
            reason, code = first_line(error, connection), getattr(error, "sqlstate", None)
            lost = not code and not isinstance(error, psycopg.ProgrammingError | UnicodeError)
            if lost or (code or "").startswith(_PASSING):
                raise Transient(
                    f"{self._origin}: the database went away, nothing was taken from it ({reason}); "
                    "retry when it is back"
                ) from None
            if code is not None and code.startswith(_QUOTING):
                reason = f"{_words(type(error).__name__)}, SQLSTATE {code}"
            raise Rejected(
                f"{self._origin}: PostgreSQL refuses source.query ({reason}); "
                "mend the query or the user's rights, then clear this task"
            ) from None


def _words(name: str) -> str:
    """The name of an error without a value in it: `division by zero` of `DivisionByZero`."""
    return re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _as_text(name: str) -> str:
    """A column as text; per cent signs are doubled, since parameters are bound to the query."""
    quoted = '"' + name.replace('"', '""').replace("%", "%%") + '"'
    return f"{quoted}::text AS {quoted}"
