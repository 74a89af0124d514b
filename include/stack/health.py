"""Which components are healthy?"""

from datetime import datetime
from typing import Any

import httpx

_AIRFLOW_JOBS = {
    "scheduler": "scheduler",
    "dag-processor": "dag_processor",
    "triggerer": "triggerer",
}
COMPONENTS = ("mlflow", "server", "api-server", *_AIRFLOW_JOBS)


def healthy(client: httpx.Client, airflow: str, mlflow: str, server: str, since: datetime) -> set[str]:
    """Return those of `COMPONENTS` that are healthy now, asked at the address of each.

    A heartbeat before `since` is that of an earlier run and does not count.
    """
    found = set()
    if _get(client, f"{mlflow}/health"):
        found.add("mlflow")
    if _get(client, f"{server}/v2/health/live"):
        found.add("server")
    if answer := _get(client, f"{airflow}/api/v2/monitor/health"):
        state = answer.json()
        found |= {name for name, job in _AIRFLOW_JOBS.items() if _beats(state, job, since)}
        found.add("api-server")
    return found


def _beats(state: dict[str, Any], job: str, since: datetime) -> bool:
    beat = state[job][f"latest_{job}_heartbeat"]
    is_ours = beat is not None and datetime.fromisoformat(beat) >= since
    return is_ours and state[job]["status"] == "healthy"


def _get(client: httpx.Client, address: str) -> httpx.Response | None:
    try:
        answer = client.get(address)
    except httpx.TransportError:
        return None
    return answer if answer.is_success else None
