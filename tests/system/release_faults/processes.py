"""The processes beside a release that are harmed: two servers behind one name, and MLflow."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from mlflow import MlflowClient

from include.lifecycle.store.objects import Store
from tests.lifecycle.tiny import MODEL
from tests.serving.running import RunningServer, answers, free_port, wait_until
from tests.system.release_faults.clock import Clock

HOSTS = ("127.0.0.1", "127.0.0.2")
"""Where the servers listen, each on the same port, as the pods behind a headless Service."""


class Servers:
    """Two servers of the same models, each by a clock of its own; a context manager."""

    def __init__(self, folder: Path, store: Store, library: Path) -> None:
        self.port = _port_free_on(HOSTS)
        self._folder, self._store = folder, store
        folder.mkdir()
        self.clocks = {host: Clock(folder / f"{host}.clock", library) for host in HOSTS}
        self._running: dict[str, RunningServer] = {}

    def __enter__(self) -> Self:
        for host in HOSTS:
            self.start(host)
        for host in HOSTS:
            wait_until(lambda host=host: answers(f"{self.url(host)}/v2/models/{MODEL}/ready"), "ready")  # type: ignore[misc]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._running.values():
            server.process.terminate()
        for server in self._running.values():
            server.process.wait(30)

    def url(self, host: str) -> str:
        """Where one of them answers."""
        return f"http://{host}:{self.port}"

    def start(self, host: str) -> None:
        """Start one, also again after its death, with the home that it had."""
        self._running[host] = RunningServer(
            self._folder / host, self._store.uri, self.clocks[host].environment, (host, self.port)
        )

    def kill(self, host: str) -> None:
        """End one as a crash would."""
        self._running[host].kill()


class MLflow:
    """`mlflow server` on SQLite with some versions of the model; a context manager."""

    def __init__(self, folder: Path, versions: int) -> None:
        folder.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder, self._database = folder, f"sqlite:///{folder}/mlflow.db"
        client = MlflowClient(self._database)
        client.create_registered_model(MODEL)
        for _ in range(versions):
            client.create_model_version(MODEL, source=f"file://{folder}")

    def __enter__(self) -> Self:
        self.start()
        wait_until(lambda: self.answers, "MLflow answers", self._process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def answers(self) -> bool:
        """Whether it is up."""
        return answers(f"{self.url}/health")

    @property
    def client(self) -> MlflowClient:
        """What asks it."""
        return MlflowClient(self.url)

    def start(self) -> None:
        """Start it, also again after its death."""
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", self._database]
        command += ["--artifacts-destination", f"{self._folder}/artifacts"]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """End it and its worker as a crash would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)


def model_at(client: httpx.Client, url: str) -> dict[str, object] | None:
    """What a server says of the model's champion, candidate and ledger entry; None where it has no answer."""
    try:
        reply = client.get(f"{url}/v2/models/{MODEL}/ready")
    except httpx.TransportError:
        return None
    return dict(reply.json()) if reply.is_success else None


def _port_free_on(hosts: tuple[str, ...]) -> int:
    while True:
        port = free_port()
        try:
            for host in hosts:
                socket.create_server((host, port)).close()
        except OSError:
            continue
        return port
