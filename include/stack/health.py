"""Which components are healthy?"""

from datetime import datetime
from typing import Any

import httpx

from include.stack.ports import HOST, Ports

_AIRFLOW_JOBS = {
    "scheduler": "scheduler",
    "dag-processor": "dag_processor",
    "triggerer": "triggerer",
}
COMPONENTS = ("mlflow", "server", "api-server", *_AIRFLOW_JOBS)


def healthy(client: httpx.Client, ports: Ports, since: datetime) -> set[str]:
    """Return those of `COMPONENTS` that are healthy now.

    A heartbeat before `since` is that of an earlier run and does not count.
    """
    found = set()
    if _get(client, ports.mlflow, "/health"):
        found.add("mlflow")
    if _get(client, ports.server, "/v2/health/live"):
        found.add("server")
    if airflow := _get(client, ports.airflow, "/api/v2/monitor/health"):
        state = airflow.json()
        found |= {name for name, job in _AIRFLOW_JOBS.items() if _beats(state, job, since)}
        found.add("api-server")
    return found


def _beats(state: dict[str, Any], job: str, since: datetime) -> bool:
    beat = state[job][f"latest_{job}_heartbeat"]
    is_ours = beat is not None and datetime.fromisoformat(beat) >= since
    return is_ours and state[job]["status"] == "healthy"


def _get(client: httpx.Client, port: int, path: str) -> httpx.Response | None:
    try:
        answer = client.get(f"http://{HOST}:{port}{path}")
    except httpx.TransportError:
        return None
    return answer if answer.is_success else None
