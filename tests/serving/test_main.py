"""The life of the process: start, releases, crashes, end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.store.objects import Store, object_path
from tests.serving.released import MODEL, ROW, publish, release_of, score
from tests.serving.running import RunningServer, wait_until


class Load:
    """Four callers that ask without pause until they are stopped or refused a connection."""

    def __init__(self, url: str, prefix: str = "") -> None:
        self.replies: dict[str, httpx.Response] = {}
        self._url, self._stopped = url, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(prefix + name,)) for name in "abcd"]
        for thread in self._threads:
            thread.start()

    def _ask(self, name: str) -> None:
        number = 0
        with httpx.Client(base_url=self._url) as client:
            while not self._stopped.is_set():
                request_id, number = f"{name}{number}", number + 1
                headers = {"X-Request-Id": request_id}
                try:
                    reply = client.post("/invocations", json={"instances": [ROW]}, headers=headers)
                except httpx.TransportError:
                    return
                self.replies[request_id] = reply

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def request_ids(store: Store) -> list[str]:
    dataset = prediction_log(MODEL, store).dataset()
    assert dataset is not None
    found: list[str] = dataset.to_table(["request_id"])["request_id"].to_pylist()
    return found


def serves(server: RunningServer, version: str) -> Callable[[], bool]:
    def ask() -> bool:
        reply = httpx.get(f"{server.url}/v2/models/{MODEL}/ready")
        return reply.is_success and reply.json()["version"] == version

    return ask


def test_a_version_changes_under_load_without_a_failed_request(
    tmp_path: Path, any_store: Store, packages: dict[str, Path]
) -> None:
    publish(any_store, release_of(packages["1"], "1", any_store), seq=1)
    with RunningServer(tmp_path / "home", any_store.uri) as server:
        load = Load(server.url)
        try:
            for seq, version in enumerate("2121", start=2):
                publish(any_store, release_of(packages[version], version, any_store), seq)
                wait_until(serves(server, version), f"{version} answers")
        finally:
            load.stop()
    expected = {version: [score(package)] for version, package in packages.items()}
    assert {reply.status_code for reply in load.replies.values()} == {200}
    answers = [reply.json() for reply in load.replies.values()]
    assert {answer["version"] for answer in answers} == {"1", "2"}
    assert all(answer["predictions"] == expected[answer["version"]] for answer in answers)


def test_kills_under_load_lose_and_repeat_no_acknowledged_prediction(
    tmp_path: Path, any_store: Store, packages: dict[str, Path]
) -> None:
    publish(any_store, release_of(packages["1"], "1", any_store))
    acknowledged: set[str] = set()
    # The flusher works about once a second: the kills come at different points of its round.
    for life, seconds in enumerate((0.9, 1.2, 1.5)):
        with RunningServer(tmp_path / "home", any_store.uri) as server:
            load = Load(server.url, f"life{life}-")
            time.sleep(seconds)
            server.kill()
            load.stop()
        new = {name for name, reply in load.replies.items() if reply.is_success}
        assert new
        acknowledged |= new
    with RunningServer(tmp_path / "home", any_store.uri) as server:
        server.flush()
    found = request_ids(any_store)
    assert acknowledged <= set(found)
    assert len(found) == len(set(found))


def test_a_tampered_package_leaves_the_old_version_answering_and_says_so(
    tmp_path: Path, store: Store, packages: dict[str, Path]
) -> None:
    publish(store, release_of(packages["1"], "1", store), seq=1)
    with RunningServer(tmp_path / "home", store.uri) as server:
        release = release_of(packages["2"], "2", store)
        store.replace(object_path(release.package["booster.ubj"].sha256), b"tampered")
        publish(store, release, seq=2)
        failures = f'perennial_reload_failures_total{{model="{MODEL}"}}'
        wait_until(lambda: server.metric(failures), "the failure is counted")
        ready = httpx.get(f"{server.url}/v2/models/{MODEL}/ready").json()
        assert (ready["ready"], ready["version"]) == (True, "1")
        assert "missing or changed in the store" in ready["trouble"]
        reply = httpx.post(f"{server.url}/invocations", json={"instances": [ROW]})
        assert reply.json()["predictions"] == [score(packages["1"])]
        assert "release not followed, still serving 1" in server.log.read_text()


def test_before_the_first_release_the_server_lives_and_says_what_to_do(
    tmp_path: Path, store: Store, packages: dict[str, Path]
) -> None:
    with RunningServer(tmp_path / "home", store.uri) as server:
        reply = httpx.post(f"{server.url}/invocations", json={"instances": [ROW]})
        assert reply.status_code == 503
        assert "no model is released yet: train one and release it" in reply.json()["error"]
        publish(store, release_of(packages["1"], "1", store))
        wait_until(serves(server, "1"), "the first release answers")


def test_sigterm_flushes_and_exits_with_0(tmp_path: Path, store: Store, packages: dict[str, Path]) -> None:
    publish(store, release_of(packages["1"], "1", store))
    with RunningServer(tmp_path / "home", store.uri) as server:
        load = Load(server.url)
        time.sleep(0.5)
        server.process.terminate()
        assert server.process.wait(20) == 0
        load.stop()
    acknowledged = [name for name, reply in load.replies.items() if reply.is_success]
    assert acknowledged
    assert set(acknowledged) <= set(request_ids(store))
    assert "Traceback" not in server.log.read_text()


def test_a_store_that_never_answers_keeps_neither_the_start_nor_the_end_waiting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_ALLOW_HTTP": "true",
        }
        with RunningServer(tmp_path / "home", "s3://lake/dead", environment=dead) as server:
            ready = httpx.get(f"{server.url}/v2/health/ready")
            assert ready.status_code == 503
            assert "the store has not been read yet" in ready.json()["trouble"]
            server.process.terminate()
            assert server.process.wait(10) == 0


def start_and_end(home: Path, port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "include.serving", "--port", str(port)]
    environment = {**os.environ, "PERENNIAL_HOME": str(home), "PERENNIAL_STORE": str(home / "store")}
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=60)


def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = start_and_end(tmp_path, port)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_does_not_exist_is_told_in_one_line(tmp_path: Path, port: int) -> None:
    ended = start_and_end(tmp_path, port)
    assert ended.returncode == 1
    assert "choose another --port" in ended.stderr
    assert ended.stderr.count("\n") == 1
