"""Rows of a query to PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, cast

import psycopg2
import pyarrow as pa
from psycopg2 import errorcodes

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


class Sql:
    """One query in a read-only transaction; PostgreSQL itself turns the values into text."""

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

    def _connect(self, connection: Connection) -> Any:
        if connection.conn_type not in ("", "postgres", "postgresql"):
            raise Rejected(f"{self._origin} is of type {connection.conn_type!r}; a sql source needs postgres")
        try:
            database = psycopg2.connect(
                host=connection.host or None,
                port=connection.port,
                user=connection.login or None,
                password=connection.password or None,
                dbname=connection.schema or None,
                **{key: connection.extra[key] for key in _OPTIONS if key in connection.extra},
            )
        except psycopg2.Error as error:
            reason = first_line(error, connection)
            if "FATAL" in reason and not any(sign in reason for sign in _PASSING_AT_START):
                raise Rejected(
                    f"{self._origin}: refused ({reason}); mend it under Admin, Connections, then "
                    "clear this task"
                ) from None
            raise Transient(f"{self._origin}: no answer ({reason}); retry when it is back") from None
        database.set_session(readonly=True)
        database.set_client_encoding("UTF8")
        return database

    def _columns(self, database: Any) -> list[str]:
        """Names of the query's columns; the session's time zone becomes the dataset's."""
        with database.cursor() as cursor:
            cursor.execute("SET TIME ZONE %s; SET DATESTYLE = 'ISO, YMD'", (self._zone,))
            cursor.execute(f"{self._query('*')} LIMIT 0", self._bounds)
            return [column.name for column in cursor.description]

    @contextmanager
    def _errors(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except (psycopg2.Error, UnicodeError) as error:
            reason, code = first_line(error, connection), getattr(error, "pgcode", None)
            lost = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and not code
            if lost or (code or "").startswith(_PASSING) or "server closed the connection" in reason:
                raise Transient(
                    f"{self._origin}: the database went away, nothing was taken from it ({reason}); "
                    "retry when it is back"
                ) from None
            if code is not None and code.startswith(_QUOTING):
                reason = _condition(code)
            raise Rejected(
                f"{self._origin}: PostgreSQL refuses source.query ({reason}); "
                "mend the query or the user's rights, then clear this task"
            ) from None


def _condition(code: str) -> str:
    """The name of what went wrong, such as `division by zero (SQLSTATE 22012)`, without a value."""
    try:
        name = str(errorcodes.lookup(code)).lower().replace("_", " ")
    except KeyError:
        name = "an error of the data"
    return f"{name}, SQLSTATE {code}"


def _as_text(name: str) -> str:
    """A column as text; per cent signs are doubled, since parameters are bound to the query."""
    quoted = '"' + name.replace('"', '""').replace("%", "%%") + '"'
    return f"{quoted}::text AS {quoted}"
