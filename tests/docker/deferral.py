"""Runs a deferrable operator to its end as Airflow does: the task, then its trigger, then the task again."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from airflow.sdk.exceptions import TaskDeferred


@dataclass
class Task:
    """What an operator asks of its task instance."""

    task_id: str
    dag_id: str = "late.train"
    run_id: str = "manual__1"
    map_index: int = -1
    try_number: int = 1
    start_date: datetime = field(default_factory=lambda: datetime.now(UTC))
    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        """Remember a value."""
        self.pushed[key] = value


def context_of(task: Task) -> dict[str, Any]:
    """The context of a task without a DAG."""
    run = SimpleNamespace(dag_id=task.dag_id, run_id=task.run_id)
    return {"ti": task, "run_id": task.run_id, "dag_run": run, "dag": None, "params": {}}


def run_to_end(
    make: Callable[[], Any], task: Task, meanwhile: Callable[[Any], None] = lambda trigger: None
) -> Any:
    """What the operator returns; `make` builds it anew in each process that would have it.

    `meanwhile` is called with the trigger each time the task is deferred.
    """
    context = context_of(task)
    try:
        return make().execute(context)
    except TaskDeferred as first:
        deferred = first
    while True:
        trigger = _as_the_triggerer_has_it(deferred.trigger)
        meanwhile(trigger)
        event = asyncio.run(_first_event(trigger))
        try:
            resumed = getattr(make(), deferred.method_name)
            return resumed(context, event=event, **(deferred.kwargs or {}))
        except TaskDeferred as again:
            deferred = again


def _as_the_triggerer_has_it(trigger: Any) -> Any:
    path, arguments = trigger.serialize()
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(**arguments)


async def _first_event(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("the trigger ended without an event")
