"""What a person does in the Airflow UI, by its REST API: trigger, clear, read import errors."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from include.demo.airflow_api import ENDED, AirflowApi, DagFailed


class DrivenAirflow(AirflowApi):
    """A running Airflow and a person who works with it."""

    def trigger(self, dag_id: str, conf: dict[str, Any], dated: datetime | None = None) -> dict[str, Any]:
        """Trigger a DAG by hand, with a logical date or without, and return the run when it has ended."""
        body = {"logical_date": dated and dated.isoformat(), "conf": conf}
        run_id = self.send("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"]
        return self._ended_run(dag_id, run_id)

    def clear(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Run all tasks of a run again, and return it when it has ended."""
        self.send("POST", f"/dags/{dag_id}/dagRuns/{run_id}/clear", {"dry_run": False})
        return self._ended_run(dag_id, run_id)

    def answer(self, dag_id: str, task_id: str, option: str) -> str:
        """Choose an option of a task of the newest run that waits for a person; what it had shown."""
        run: dict[str, Any] = {}
        states: dict[str, str] = {}

        def waits() -> bool:
            run.update(next(iter(self.runs(dag_id)), {}))
            states.update(self.task_states(dag_id, run["dag_run_id"]) if run else {})
            return states.get(task_id) == "awaiting_input"

        try:
            self.until(waits, f"a question of {dag_id}", patience=120)
        except DagFailed as failed:
            raise DagFailed(f"{failed}; its newest run is {run.get('dag_run_id')}: {states}") from None
        # As long as a person reads: Airflow 3.3 loses an answer, and asks again, when its scheduler has not
        # yet seen the process end that asked.
        time.sleep(3)
        path = f"/dags/{dag_id}/dagRuns/{run['dag_run_id']}/taskInstances/{task_id}/-1/hitlDetails"
        shown = self.get(path, {})
        self.send("PATCH", path, {"chosen_options": [option], "params_input": {}})
        return f"{shown['subject']}\n{shown['body']}"

    def wait_for_import_error(self, patience: float = 60) -> str:
        """Wait until Airflow shows an import error, and return its text."""
        shown: list[str] = []

        def there() -> bool:
            errors = self.get("/importErrors", {})["import_errors"]
            shown[:] = [item["stack_trace"] for item in errors]
            return bool(shown)

        self.until(there, "an import error", patience)
        return shown[0]

    def _ended_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        run: dict[str, Any] = {}

        def ended() -> bool:
            run.update(self.get(f"/dags/{dag_id}/dagRuns/{run_id}", {}))
            return run["state"] in ENDED

        self.until(ended, f"{dag_id} {run_id}", patience=300)
        return run
