"""What the replay asks of Airflow, through its REST API alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx

ENDED = {"success", "failed"}


Seen = Callable[[int, int], None]


def unseen(done: int, total: int) -> None:
    """Nobody looks at the progress."""


class DagFailed(Exception):
    """A DAG run of the replay failed."""


class AirflowApi:
    """A running Airflow."""

    def __init__(self, url: str, token: Callable[[], str]) -> None:
        self.url = url
        self._client = httpx.Client(
            base_url=f"{url}/api/v2", timeout=60, headers={"Authorization": f"Bearer {token()}"}
        )

    def wait_for_dags(self, dag_ids: set[str], patience: float = 120) -> None:
        """Wait until Airflow has parsed these DAGs."""

        def known() -> bool:
            dags = self.get("/dags", {"limit": 1000})["dags"]
            return dag_ids <= {item["dag_id"] for item in dags}

        self.until(known, f"DAGs {sorted(dag_ids)}", patience)

    def unpause(self, dag_id: str) -> None:
        """Switch a DAG on."""
        self.send("PATCH", f"/dags/{dag_id}", {"is_paused": False})

    def backfill(self, dag_id: str, first: date, last: date, seen: Seen = unseen) -> int:
        """Backfill a span of logical dates, and return how many runs succeeded.

        `seen` is told, again and again, how many runs of how many have ended. Raises DagFailed
        naming the first run that failed.
        """
        body = {
            "dag_id": dag_id,
            "from_date": _instant(first),
            "to_date": _instant(last),
            "max_active_runs": 4,
            "reprocess_behavior": "completed",
        }
        created = self.send("POST", "/backfills", body)["id"]
        span = {"logical_date_gte": _instant(first), "logical_date_lte": _instant(last)}
        total = self._runs(dag_id, span)["total_entries"]

        def ended() -> bool:
            done = self._runs(dag_id, span | {"state": sorted(ENDED)})["total_entries"]
            seen(done, total)
            return bool(done == total > 0)

        self.until(ended, f"backfill of {dag_id} from {first} to {last}", patience=1800)
        # Airflow looks for finished backfills every 30 s, and allows one at a time for each DAG.
        self._client.put(f"/backfills/{created}/cancel")
        for run in self._runs(dag_id, span | {"state": "failed"})["dag_runs"]:
            raise DagFailed(f"{dag_id} {run['dag_run_id']}: {run['state']}; see {self.url}")
        return int(total)

    def _runs(self, dag_id: str, query: dict[str, Any]) -> dict[str, Any]:
        """One run that fits a query, and how many fit: Airflow shows a hundred at most at once."""
        found: dict[str, Any] = self.get(f"/dags/{dag_id}/dagRuns", {"limit": 1, **query})
        return found

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The DAG's newest runs."""
        query = {"limit": 100, "order_by": "-id"}
        runs: list[dict[str, Any]] = self.get(f"/dags/{dag_id}/dagRuns", query)["dag_runs"]
        return runs

    def wait_for_run(self, dag_id: str, known: set[str], patience: float = 300) -> dict[str, Any]:
        """Wait until a run that is not among the known ones has ended, and return it."""
        found: list[dict[str, Any]] = []

        def ended() -> bool:
            found[:] = [run for run in self.runs(dag_id) if run["dag_run_id"] not in known]
            return bool(found) and all(run["state"] in ENDED for run in found)

        self.until(ended, f"a run of {dag_id}", patience)
        if found[-1]["state"] == "failed":
            raise DagFailed(f"{dag_id} {found[-1]['dag_run_id']} failed; see {self.url}/dags/{dag_id}")
        return found[-1]

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """State of each task of a run."""
        items = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", {})["task_instances"]
        return {item["task_id"]: str(item["state"]) for item in items}

    def get(self, path: str, query: dict[str, Any]) -> Any:
        """The JSON that a path of the API answers with."""
        reply = self._client.get(path, params=query)
        reply.raise_for_status()
        return reply.json()

    def send(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """The JSON that a change answers with; raises DagFailed with Airflow's reason for refusing it."""
        reply = self._client.request(method, path, json=body)
        if reply.is_error:
            raise DagFailed(f"{method} {path}: {reply.status_code} {reply.text[:500]}")
        return reply.json()

    def until(self, done: Callable[[], bool], what: str, patience: float) -> None:
        """Wait until something is done; raises DagFailed naming it when that takes too many seconds."""
        ends = time.monotonic() + patience
        while not done():
            if time.monotonic() > ends:
                raise DagFailed(f"{what}: not there after {timedelta(seconds=patience)}; see {self.url}")
            time.sleep(0.25)


def _instant(day: date) -> str:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).isoformat().replace("+00:00", "Z")
