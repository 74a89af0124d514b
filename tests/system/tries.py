"""How often was each task of a run tried, and what did it say each time? Its logs go with the system."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from tests.system.driven_airflow import DrivenAirflow


@dataclass(frozen=True)
class Tried:
    """A task instance after its last try."""

    airflow: DrivenAirflow
    path: str
    """Of the task instance, in Airflow's API."""
    state: str | None
    tries: int

    def story(self) -> str:
        """What each try said last, as Airflow's logs have it."""
        said = (f"{number}: {self._last_words(number)}" for number in range(1, self.tries + 1))
        return "\n  ".join((f"{self.path}, {self.tries} tries, {self.state}", *said))

    def _last_words(self, number: int) -> str:
        try:
            content = self.airflow.get(f"{self.path}/logs/{number}", {"full_content": True})["content"]
        except httpx.HTTPError as error:
            return str(error)
        events = [line for line in content if isinstance(line, dict) and line.get("timestamp")]
        loud = [line for line in events if line.get("level") in ("warning", "error", "critical")]
        return " | ".join(f"{line['timestamp']} {line['event']}" for line in (loud or events)[-3:])


def tried(airflow: DrivenAirflow, dag_id: str, run_id: str) -> list[Tried]:
    """The tasks of a run."""
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
    return [
        Tried(airflow, f"{path}/{task['task_id']}", task["state"], task["try_number"])
        for task in airflow.get(path, {})["task_instances"]
    ]
