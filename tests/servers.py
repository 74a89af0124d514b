"""Real sources for tests: a PostgreSQL, an HTTP API whose answers a test writes, a bucket on S3."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import obstore
import psycopg
from obstore.store import from_url

from include.lifecycle.store.connections import Connection, Connections
from include.stack import postgres
from include.stack.home import PROJECT_ROOT
from tests.stack.waiting import eventually

PASSWORD = "correct-horse-battery"


def only(connection: Connection) -> Connections:
    """Gives that connection under any name."""
    return lambda name: connection


class Database:
    """A PostgreSQL of its own; its socket's folder has a short path, as it must."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="pg-"))
        self.home.chmod(0o755)
        self.log = self.home / "log"
        self._sockets = self.home / "run"

    def __enter__(self) -> Self:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                postgres.command(self.home / "data", self._sockets),
                env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        eventually(lambda: bool(postgres.healthy(self._sockets)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.die()
        shutil.rmtree(self.home, ignore_errors=True)

    def die(self) -> None:
        """End at once, and every session with it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)

    def connection(self, login: str = "postgres") -> Connection:
        """As Airflow knows it."""
        return Connection(
            conn_type="postgres",
            host=str(self._sockets),
            login=login,
            password=PASSWORD,
            schema="postgres",
        )

    def do(self, *statements: str) -> None:
        """Run statements as its owner."""
        with psycopg.connect(host=str(self._sockets), user="postgres", autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


@dataclass
class Asked:
    """One request to the API."""

    path: str
    query: dict[str, str]
    headers: Mapping[str, str]


@dataclass
class Answer:
    """What the API answers."""

    body: str | bytes = "[]"
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


class Api:
    """An HTTP server that answers as its test says, and keeps what it was asked."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                asked = Asked(parts.path, dict(parse_qsl(parts.query)), self.headers)
                api.asked.append(asked)
                given = answer(asked)
                body = given.body.encode() if isinstance(given.body, str) else given.body
                self.send_response(given.status)
                for name, value in {**given.headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def connection(self, login: str = "", password: str = PASSWORD, **extra: str) -> Connection:
        """As Airflow knows it."""
        host, port = self._server.server_address[:2]
        return Connection(
            conn_type="http", host=str(host), port=port, login=login, password=password, extra=dict(extra)
        )


class Bucket:
    """A place of its own in the bucket `lake` on the S3 server of the environment."""

    def __init__(self) -> None:
        self.uri = f"s3://lake/landing-{uuid.uuid4().hex}"
        self._objects = from_url(self.uri)

    def put(self, path: str, content: bytes) -> None:
        """Write an object."""
        obstore.put(self._objects, path, content)

    def connection(self, password: str = "") -> Connection:
        """As Airflow knows it."""
        return Connection(
            conn_type="aws",
            login=os.environ["AWS_ACCESS_KEY_ID"],
            password=password or os.environ["AWS_SECRET_ACCESS_KEY"],
            extra={"endpoint_url": os.environ["AWS_ENDPOINT_URL"], "region_name": "us-east-1"},
        )
