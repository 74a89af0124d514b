"""Ten thousand requests as nobody should send them; PERENNIAL_MALFORMED_REQUESTS asks for more."""

from __future__ import annotations

import json
import os
import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from include.lifecycle.store.objects import Store
from tests.serving import malformed
from tests.serving.malformed import Malformed
from tests.serving.released import INPUTS, MODEL, ROW, publish, release_of
from tests.serving.running import RunningServer

REQUESTS = int(os.environ.get("PERENNIAL_MALFORMED_REQUESTS") or 10_000)
WARM_UP = 2_000
OF_HYPOTHESIS = OF_SCHEMATHESIS = REQUESTS // 10
MAX_GROWTH = 24 << 20
PATIENCE, GLANCE = 60.0, 0.02
STATUS = re.compile(rb"^HTTP/1\.1 (\d{3}) ", re.MULTILINE)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*INPUTS, "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from([*INPUTS]) | st.text(max_size=3),
        "shape": st.lists(st.integers(-1, 3), max_size=3) | VALUES,
        "datatype": st.sampled_from(["FP64", "INT64", "BOOL", "BYTES", "FP16"]) | VALUES,
        "data": st.lists(VALUES, max_size=3) | VALUES,
    }
)
BODIES = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(["dataframe_records", "inputs", "instances"]), VALUES, max_size=2),
    st.fixed_dictionaries(
        {"instances": st.lists(st.fixed_dictionaries(dict.fromkeys(INPUTS, VALUES)), max_size=2)}
    ),
    st.fixed_dictionaries(
        {"inputs": st.fixed_dictionaries(dict.fromkeys(INPUTS, st.lists(VALUES, max_size=2)))}
    ),
    st.fixed_dictionaries({"dataframe_split": st.fixed_dictionaries({"columns": VALUES, "data": VALUES})}),
    st.fixed_dictionaries({"inputs": st.lists(TENSOR, max_size=6), "id": VALUES, "outputs": VALUES}),
)


class Fuzz:
    """Sends to one server and counts the statuses that come back; 0 stands for no reply."""

    def __init__(self, server: RunningServer) -> None:
        self.statuses: Counter[int] = Counter()
        self.server, self._process = server, psutil.Process(server.process.pid)
        self.client = httpx.Client(base_url=server.url, timeout=30)

    @property
    def memory(self) -> int:
        """What the server has in memory, in bytes."""
        return int(self._process.memory_info().rss)

    def send(self, requests: list[Malformed]) -> None:
        """Send each on a connection of its own."""
        with ThreadPoolExecutor(8) as senders:
            for request, received in zip(requests, senders.map(self._exchange, requests), strict=True):
                found = [int(status) for status in STATUS.findall(received)]
                assert max(found, default=0) < 500, (request.content[:500], received)
                self.statuses.update(found or [0])

    def _exchange(self, request: Malformed) -> bytes:
        received = bytearray()
        with socket.create_connection(("127.0.0.1", self.server.port)) as connection:
            connection.settimeout(PATIENCE if request.is_whole else GLANCE)
            with suppress(ConnectionError):
                connection.sendall(request.content)
                try:
                    _receive(connection, received)
                except TimeoutError:
                    assert not request.is_whole, request.content[:500]
                    connection.settimeout(PATIENCE)
                    connection.shutdown(socket.SHUT_WR)
                    _receive(connection, received)
        return bytes(received)

    def check(self, reply: Any) -> None:
        """Count a reply; one without an answer must be JSON that says why."""
        self.statuses[reply.status_code] += 1
        assert reply.status_code < 500 or (reply.status_code == 503 and "Retry-After" in reply.headers), (
            reply.text
        )

    def shapes(self, count: int) -> None:
        """Bodies of JSON, with Python's NaN and Infinity, in wrong shapes for each protocol."""

        @_examples(count)
        @given(path=st.sampled_from(malformed.PATHS), body=BODIES)
        def ask(path: str, body: Any) -> None:
            reply = self.client.post(path, content=json.dumps(body))
            self.check(reply)
            assert reply.status_code == 200 or list(reply.json()) == ["error"]

        ask()

    def operations(self, count: int) -> None:
        """What schemathesis makes of the server's OpenAPI; replies must be as it says."""
        schema = schemathesis.openapi.from_url(f"{self.server.url}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        cases = st.one_of(
            [operation.as_strategy(generation_mode=mode) for operation in operations for mode in MODES]
        )
        checks = [status_code_conformance, content_type_conformance, response_schema_conformance]

        @_examples(count)
        @given(case=cases)
        def ask(case: schemathesis.Case) -> None:
            reply = case.call()
            self.check(reply)
            case.validate_response(reply, checks=checks)

        ask()


def _examples(count: int) -> settings:
    """So many, the same ones each time, and as slow as the machine is."""
    return settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def _receive(connection: socket.socket, received: bytearray) -> None:
    while part := connection.recv(65_536):
        received += part


MODES = (schemathesis.GenerationMode.NEGATIVE, schemathesis.GenerationMode.POSITIVE)


def test_malformed_requests_get_no_server_error_and_leave_the_server_as_it_was(
    tmp_path: Path, store: Store, packages: dict[str, Path]
) -> None:
    publish(store, release_of(packages["1"], "1", store))
    requests = malformed.requests(REQUESTS - OF_HYPOTHESIS - OF_SCHEMATHESIS, seed=1)
    with RunningServer(tmp_path / "home", store.uri) as server:
        fuzz = Fuzz(server)
        good = {"json": {"instances": [ROW]}, "headers": {"X-Request-Id": "good"}}
        before = fuzz.client.post(f"/models/{MODEL}/invocations", **good).json()
        fuzz.send(requests[:WARM_UP])
        server.flush()  # what writes to Delta is loaded by now
        warm = fuzz.memory
        fuzz.send(requests[WARM_UP:])
        fuzz.shapes(OF_HYPOTHESIS)
        fuzz.operations(OF_SCHEMATHESIS)
        growth = fuzz.memory - warm
        after = fuzz.client.post(f"/models/{MODEL}/invocations", **good).json()
        assert server.process.poll() is None
    print(f"{dict(sorted(fuzz.statuses.items()))}, memory {warm >> 20} MB and {growth / 2**20:+.1f} MB")
    assert before["predictions"] == after["predictions"]
    assert fuzz.statuses.total() >= REQUESTS
    assert "Traceback" not in server.log.read_text()
    assert growth < MAX_GROWTH
