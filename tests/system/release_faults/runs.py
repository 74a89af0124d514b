"""Runs of the release, one at a time as Airflow starts them; what dies is started again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from include.stack.home import PROJECT_ROOT
from tests.lifecycle.tiny import MODEL
from tests.system.release_faults import tasks
from tests.system.release_faults.clock import Clock
from tests.system.release_faults.tasks import Notes

RELEASE, ROLLBACK = f"{MODEL}.release", "perennial.rollback"
_AGAIN_AFTER = 0.3
"""Seconds after which a task that was killed is tried again."""


@dataclass
class Run:
    """A run and the process that is at it."""

    notes: Notes
    process: BaseProcess
    died: float | None = None
    """When, and it was not started again yet."""


@dataclass
class Runs:
    """Starts runs and looks after them; a run that failed is followed by another one, as by hand."""

    folder: Path
    clock: Clock
    running: dict[str, Run] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)
    _asked: bool = False
    _number: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir()
        # Processes are forks of one that has imported everything, has used none of it, and has our clock.
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload([tasks.__name__])
        with pytest.MonkeyPatch.context() as env:
            for name, value in self.clock.environment.items():
                env.setenv(name, value)
            env.setenv("PYTHONPATH", f"{PROJECT_ROOT}{os.pathsep}{PROJECT_ROOT / 'plugins'}")
            first = self._processes.Process(target=int)
            first.start()
        first.join()

    @property
    def at_work(self) -> bool:
        """Whether a release was begun, or is to begin, and has not ended."""
        return self._asked or any(run.notes.read()["dag_id"] == RELEASE for run in self.running.values())

    def wake(self) -> None:
        """Ask for a release; asked for while one runs, it comes after that."""
        self._asked = True

    def begin(self, dag_id: str) -> str:
        """Start a run beside those that there are; returns its id."""
        self._number += 1
        run_id = f"{dag_id.partition('.')[2]}-{self._number}"
        asked_at = datetime.now(UTC) + timedelta(
            seconds=self.clock.seconds
        )  # the scheduler's clock is theirs
        notes = tasks.begin(self.folder, dag_id, run_id, asked_at)
        self.running[run_id] = Run(notes, self._started(notes))
        return run_id

    def kill(self, run_id: str) -> str | None:
        """Kill a run's process; returns the task that it was at, or None when it had ended."""
        run = self.running[run_id]
        if not run.process.is_alive():
            return None
        run.process.kill()
        run.process.join()
        return str(run.notes.read()["task"]) if run.process.exitcode == -signal.SIGKILL else None

    def look_after(self) -> None:
        """Begin what was asked for, start again what was killed, and forget what has ended."""
        for run_id, run in list(self.running.items()):
            if not run.process.is_alive():
                self._ended(run_id, run)
        if self._asked and not self.at_work_now():
            self._asked = False
            self.begin(RELEASE)

    def at_work_now(self) -> bool:
        """Whether a release runs."""
        return any(run.notes.read()["dag_id"] == RELEASE for run in self.running.values())

    def told(self) -> str:
        """How many runs ended how, and what the others are at."""
        left = [f"{run_id} at {run.notes.read()['task']}" for run_id, run in self.running.items()]
        return f"{dict(self.ended)}; {', '.join(left) or 'none is left'}"

    def _ended(self, run_id: str, run: Run) -> None:
        if run.process.exitcode == -signal.SIGKILL:
            run.died = run.died or time.monotonic()
            if time.monotonic() - run.died > _AGAIN_AFTER:
                self.running[run_id] = Run(run.notes, self._started(run.notes))
            return
        del self.running[run_id]
        told = run.notes.read()
        how = "done" if run.process.exitcode == 0 else f"failed at {told['task']}"
        self.ended[f"{told['dag_id']} {how}"] += 1
        if how != "done" and told["dag_id"] == RELEASE:
            self.wake()

    def _started(self, notes: Notes) -> BaseProcess:
        process = self._processes.Process(target=tasks.work, args=(notes,), daemon=True)
        process.start()
        return process
