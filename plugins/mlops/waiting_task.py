"""Which task waits for a pod? The pod says so in an annotation; a task that adopts a pod rewrites it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from include.lifecycle.spec.value import Value, canonical_json

_ANNOTATION = "perennial/task"


class WaitingTask(Value):
    """A task instance, whichever try it is at."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{mapped} of {self.run_id}"


def waited_for_by(ti: Any) -> dict[str, str]:
    """The annotations of what a task instance waits for."""
    map_index = -1 if ti.map_index is None else ti.map_index
    task = WaitingTask(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=map_index)
    return {_ANNOTATION: canonical_json(task.model_dump()).decode()}


def waiting_task(annotations: Mapping[str, str] | None) -> WaitingTask | None:
    """The task that annotations name; None when they name none."""
    try:
        return WaitingTask.model_validate_json((annotations or {}).get(_ANNOTATION, ""))
    except ValidationError:
        return None
