"""The tasks of a run, done one after another by the project's own operators, as Airflow's worker and
triggerer do; in a process that may be killed at any instant and goes on with the task that it was at.

What Airflow would try again later is tried again soon.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from mlops.operators.approve import ApproveOperator
from mlops.operators.canary import CanaryOperator
from mlops.operators.release import (
    AwaitServerOperator,
    PromoteOperator,
    ReconcileOperator,
    RollBackOperator,
    StageOperator,
)
from mlops.triggers import canary

from include.lifecycle.model import evaluation, predictor  # noqa: F401  (what a fork need not import again)
from include.lifecycle.steps import evaluate, releasing  # noqa: F401
from tests.lifecycle.tiny import MODEL
from tests.plugins.contexts import context_of
from tests.system.release_faults.processes import HOSTS

SERVERS = "perennial-servers"
"""The name of both servers' addresses."""
_RETRY_AFTER = 0.3
_PATIENCE = 120.0

WAYS: dict[str, dict[str, Callable[[Any], BaseOperator]]] = {
    f"{MODEL}.release": {
        "stage": lambda before: StageOperator(task_id="stage", model=MODEL),
        "approve": lambda before: ApproveOperator(
            task_id="approve", model=MODEL, staged=before, within=timedelta(days=1)
        ),
        "canary": lambda before: CanaryOperator(task_id="canary", model=MODEL, staged=before),
        "promote": lambda before: PromoteOperator(task_id="promote", model=MODEL, climbed=before),
        "reconcile": lambda before: ReconcileOperator(task_id="reconcile", model=MODEL),
        "await_server": lambda before: AwaitServerOperator(task_id="await_server", model=MODEL),
    },
    "perennial.rollback": {
        "roll_back": lambda before: RollBackOperator(task_id="roll_back", model=MODEL),
        "await_server": lambda before: AwaitServerOperator(task_id="await_server", model=MODEL),
    },
}
"""Of each DAG, its tasks, each given what the one before it returned."""
_ALSO_AFTER_A_SKIP = ("reconcile", "await_server")


@dataclass
class Notes:
    """What Airflow's database knows of a run: it outlives the processes."""

    file: Path

    def read(self) -> dict[str, Any]:
        """Task that is at work, what was returned by those that ended, and whether one was skipped."""
        return dict(json.loads(self.file.read_text()))

    def write(self, **changes: Any) -> None:
        """Note what changed, whole or not at all."""
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps({**self.read(), **changes}))
        part.replace(self.file)


def begin(folder: Path, dag_id: str, run_id: str, asked_at: datetime) -> Notes:
    """Note a new run."""
    notes = Notes(folder / f"{run_id}.json")
    told: dict[str, Any] = {"dag_id": dag_id, "run_id": run_id, "asked_at": asked_at.isoformat()}
    told |= {"task": "", "done": {}, "skipped": False}
    notes.file.write_text(json.dumps(told))
    return notes


def work(notes: Notes) -> None:
    """Do the tasks that are left; the process ends with 0, or with 1 when one failed for good."""
    log = os.open(notes.file.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    canary._EVERY, canary._UNTIL_COMPARED = 0.3, 0.2
    _resolve(SERVERS, HOSTS)
    told = notes.read()
    tasks, done = WAYS[told["dag_id"]], told["done"]
    context = context_of(
        dag_id=told["dag_id"],
        run_id=told["run_id"],
        run_after=datetime.fromisoformat(told["asked_at"]),
        reason="a rollback amid all this",
    )
    before, skipped = None, bool(told["skipped"])
    for name, operator in tasks.items():
        if name not in done and not (skipped and name not in _ALSO_AFTER_A_SKIP):
            notes.write(task=name)
            try:
                done[name] = _until_done(operator(before), context)
            except AirflowSkipException:
                done[name], skipped = None, True
            except AirflowFailException:
                traceback.print_exc()
                sys.exit(1)
            notes.write(done=done, skipped=skipped)
        before = done.get(name, before)


def _until_done(operator: BaseOperator, context: dict[str, Any]) -> Any:
    """What a task returns, after as many tries as it takes."""
    ends = time.monotonic() + _PATIENCE
    while True:
        try:
            return _tried(operator, context)
        except (AirflowSkipException, AirflowFailException):
            raise
        except Exception:
            traceback.print_exc()
            if time.monotonic() > ends:
                raise
        time.sleep(_RETRY_AFTER)


def _tried(operator: Any, context: dict[str, Any]) -> Any:
    """One try of a task; what it is deferred for is waited for by a trigger made anew."""
    go_on: Callable[[], Any] = lambda: operator.execute(context)  # noqa: E731
    while True:
        try:
            return go_on()
        except TaskDeferred as deferred:
            event = asyncio.run(_fired(deferred.trigger))
            method, told = getattr(operator, deferred.method_name), dict(deferred.kwargs or {})
            go_on = lambda method=method, event=event, told=told: method(context, event=event, **told)  # type: ignore[misc]  # noqa: E731


async def _fired(trigger: Any) -> Any:
    _, arguments = trigger.serialize()
    async for event in type(trigger)(**json.loads(json.dumps(arguments))).run():
        return event.payload
    raise AssertionError("the trigger ended without an event")


def _resolve(name: str, hosts: tuple[str, ...]) -> None:
    """Let a name have these addresses, as a headless Service's has those of its pods."""
    known = socket.getaddrinfo

    def getaddrinfo(host: Any, *more: Any, **named: Any) -> Any:
        wanted = hosts if host == name else (host,)
        return [address for each in wanted for address in known(each, *more, **named)]

    socket.getaddrinfo = getaddrinfo
