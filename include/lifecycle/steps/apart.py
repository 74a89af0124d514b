"""Serves one version in a server of its own, which production knows nothing of, and which ends with us."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import httpx

from include.lifecycle.errors import Transient
from include.lifecycle.release.document import Release, ReleaseDocument, write_release
from include.lifecycle.steps.metering import peak_bytes
from include.lifecycle.store.objects import Store

_TO_START = 600.0
"""Seconds that libraries may take, on a busy machine too: no fault of the version's."""
_TO_LOAD = 120.0
_TO_ANSWER = 30.0


class DoesNotServe(Exception):
    """The version cannot be loaded, or does not answer in time."""


class Served(Protocol):
    """A version that answers apart from production."""

    def ask(self, row: Mapping[str, Any]) -> float | str:
        """Its answer to a request of one row, or why it gave none."""

    def peak_bytes(self) -> int:
        """The most memory that its process had so far."""


Serve = Callable[[str, Release, Path], AbstractContextManager[Served]]
"""Starts a version of a model whose files lie in a folder, and ends it. Raises DoesNotServe."""


@contextmanager
def served_apart(model: str, release: Release, package: Path) -> Iterator[Served]:
    """The server of production as a process with a home and a store of its own, both beside the package.

    Raises DoesNotServe when the version is at fault, Transient when the process ends or never comes up.
    """
    home, key = package.parent / "server", secrets.token_urlsafe(24)
    store = Store(str(home / "store"))
    for file in package.iterdir():
        store.keep_file(file)
    write_release(ReleaseDocument(model=model, seq=0, champion=release), store)
    with ExitStack() as stack:
        process, address = _started(home, store, key)
        stack.callback(_end, process)
        client = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {key}"},
            timeout=_TO_ANSWER,
            trust_env=False,  # no proxy stands between two processes of one machine
        )
        server = _Server(model, process, stack.enter_context(client), home / "said")
        server.await_loaded()
        yield server


def _started(home: Path, store: Store, key: str) -> tuple[subprocess.Popen[bytes], str]:
    """The process and its address. It has the only copy of the socket: who asks learns when it ended."""
    # Settings of production's servers are not for this one.
    others = {name: value for name, value in os.environ.items() if not name.startswith("PERENNIAL_")}
    told = {
        "PERENNIAL_HOME": str(home),
        "PERENNIAL_STORE": store.uri,
        "PERENNIAL_SERVER_KEYS": key,
        "TMPDIR": str(home),
    }
    with (home / "said").open("w") as said, socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "include.serving", "--lifeline", "--fd", str(listener.fileno())],
            env={**others, **told},
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,  # closes when this process goes, however it goes
            stdout=said,
            stderr=said,
        )
        return process, f"http://127.0.0.1:{listener.getsockname()[1]}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


class _Server:
    """Asks the process by HTTP, as its callers in production do."""

    def __init__(
        self, model: str, process: subprocess.Popen[bytes], client: httpx.Client, said: Path
    ) -> None:
        self._model, self._process, self._client, self._said = model, process, client, said

    def await_loaded(self) -> None:
        """Return when the version answers."""
        try:
            self._send("GET", "/v2/health/live", timeout=_TO_START)
        except DoesNotServe as slow:
            raise Transient(f"staging: no server came up: {slow}; try again") from None
        deadline = time.monotonic() + _TO_LOAD
        while (reply := self._send("GET", f"/v2/models/{self._model}/ready")).status_code != 200:
            if reply.status_code == 503:
                raise DoesNotServe(reply.json()["error"])
            if time.monotonic() > deadline:
                raise DoesNotServe(f"it is not loaded after {_TO_LOAD:g} s")
            time.sleep(0.02)

    def ask(self, row: Mapping[str, Any]) -> float | str:
        """Its answer in MLflow's protocol, or the server's words."""
        path = f"/models/{self._model}/invocations"
        reply = self._send("POST", path, json={"dataframe_records": [row]})
        content = reply.json()
        return float(content["predictions"][0]) if reply.is_success else str(content["error"])

    def peak_bytes(self) -> int:
        """The peak resident set of the process."""
        return peak_bytes(self._process.pid)

    def _send(self, method: str, path: str, **told: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **told)
        except httpx.TimeoutException:
            raise DoesNotServe(f"no answer in {told.get('timeout', _TO_ANSWER):g} s") from None
        except httpx.TransportError as error:
            raise Transient(f"staging: {self._ending(error)}; try again") from None

    def _ending(self, error: Exception) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        last = " | ".join(self._said.read_text(errors="replace").splitlines()[-3:])
        return f"the version's server ended with {self._process.returncode} ({error}): {last}"
