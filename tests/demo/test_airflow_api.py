"""The replay's client against a little Airflow that answers over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from include.demo.airflow_api import AirflowApi, DagFailed


class LittleAirflow(ThreadingHTTPServer):
    """Keeps DAG runs, and what it was asked to do."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.tokens: set[str] = set()


class _Handler(BaseHTTPRequestHandler):
    server: LittleAirflow

    def _handle(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        place = urlsplit(self.path)
        path, query = place.path.removeprefix("/api/v2"), parse_qs(place.query)
        self.server.tokens.add(self.headers["Authorization"])
        self.server.asked.append((self.command, path, body))
        if path.startswith("/dags/forbidden"):
            self._reply(403, {"detail": "not yours"})
        elif path == "/dags":
            self._reply(200, {"dags": [{"dag_id": "late.train"}]})
        elif path == "/backfills":
            self._reply(200, {"id": 7})
        elif path.endswith("/dagRuns"):
            states = query.get("state")
            runs = [run for run in self.server.runs if not states or run["state"] in states]
            limit = min(int(query["limit"][0]), 100)
            self._reply(200, {"dag_runs": runs[:limit], "total_entries": len(runs)})
        elif path.endswith("/taskInstances"):
            self._reply(200, {"task_instances": [{"task_id": "train", "state": "success"}]})
        else:
            self._reply(200, {})

    do_GET = do_POST = do_PATCH = do_PUT = _handle

    def _reply(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def airflow() -> Iterator[LittleAirflow]:
    server = LittleAirflow()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def api(airflow: LittleAirflow) -> AirflowApi:
    return AirflowApi(f"http://127.0.0.1:{airflow.server_port}", lambda: "the-token")


def _run(run_id: str, state: str) -> dict[str, Any]:
    return {"dag_run_id": run_id, "state": state}


def test_it_shows_its_token(airflow: LittleAirflow, api: AirflowApi) -> None:
    api.unpause("late.train")
    assert airflow.tokens == {"Bearer the-token"}
    assert airflow.asked == [("PATCH", "/dags/late.train", {"is_paused": False})]


def test_it_waits_for_dags_and_names_those_that_never_come(api: AirflowApi) -> None:
    api.wait_for_dags({"late.train"}, patience=1)
    with pytest.raises(DagFailed, match=r"late.release"):
        api.wait_for_dags({"late.train", "late.release"}, patience=0.3)


def test_a_backfill_asks_for_its_days_and_counts_its_runs(airflow: LittleAirflow, api: AirflowApi) -> None:
    airflow.runs = [_run("a", "success"), _run("b", "success")]
    assert api.backfill("trips.ingest", date(2024, 1, 1), date(2024, 1, 2)) == 2
    body = next(body for _, path, body in airflow.asked if path == "/backfills")
    assert body["dag_id"] == "trips.ingest"
    assert (body["from_date"][:10], body["to_date"][:10]) == ("2024-01-01", "2024-01-02")


def test_a_backfill_longer_than_a_page_of_airflow_waits_for_all_its_runs(
    airflow: LittleAirflow, api: AirflowApi
) -> None:
    airflow.runs = [_run(str(number), "success") for number in range(150)]
    assert api.backfill("trips.ingest", date(2024, 1, 1), date(2024, 5, 30)) == 150


def test_a_backfill_with_a_failed_run_names_it(airflow: LittleAirflow, api: AirflowApi) -> None:
    airflow.runs = [_run("a", "success"), _run("b", "failed")]
    with pytest.raises(DagFailed, match=r"trips.ingest b: failed"):
        api.backfill("trips.ingest", date(2024, 1, 1), date(2024, 1, 2))


def test_it_waits_for_a_run_that_it_did_not_know(airflow: LittleAirflow, api: AirflowApi) -> None:
    airflow.runs = [_run("new", "success"), _run("old", "failed")]
    assert api.wait_for_run("late.train", {"old"}, patience=2)["dag_run_id"] == "new"


def test_a_new_run_that_failed_is_named(airflow: LittleAirflow, api: AirflowApi) -> None:
    airflow.runs = [_run("new", "failed")]
    with pytest.raises(DagFailed, match=r"late.train new failed"):
        api.wait_for_run("late.train", set(), patience=2)


def test_it_says_which_task_is_how(api: AirflowApi) -> None:
    assert api.task_states("late.train", "new") == {"train": "success"}


def test_what_airflow_refuses_is_told_with_its_reason(api: AirflowApi) -> None:
    with pytest.raises(DagFailed, match=r"403.*not yours"):
        api.unpause("forbidden")
