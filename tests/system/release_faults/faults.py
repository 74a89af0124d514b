"""What can go wrong while a version is released; each fault says what it hit, or None."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from include.lifecycle.errors import Transient
from tests.lifecycle.tiny import Project
from tests.system.faults import run_command
from tests.system.release_faults.candidates import Candidates
from tests.system.release_faults.looks import Looks
from tests.system.release_faults.processes import HOSTS, MLflow
from tests.system.release_faults.runs import RELEASE, ROLLBACK, Runs

_COMES_WITHIN = 8.0
"""Seconds in which a version comes to be compared on live requests."""
_BACK_WITHIN = 60.0
MINUTE = 60


@dataclass(frozen=True)
class Hit:
    """A fault that hit something."""

    after: float
    """Seconds since the campaign began."""
    fault: str
    what: str

    def __str__(self) -> str:
        return f"after {self.after:.0f} s {self.fault} ({self.what})"


@dataclass
class Faults:
    """All faults, on what runs."""

    world: Project
    looks: Looks
    mlflow: MLflow
    runs: Runs
    candidates: Candidates
    draw: random.Random
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20))

    def kinds(self) -> dict[str, Callable[[], str | None]]:
        """Every fault by its name; those of the store only where it is a server."""
        store = {"store killed": self.store_killed, "store silent": self.store_silent}
        return {
            "release task killed": self.task,
            "release task killed, canary": self.task_of_a_canary,
            "server killed": self.server,
            "MLflow killed": self.mlflow_killed,
            "two releases at once": self.second_release,
            "candidate during a canary": self.candidate,
            "rollback during a release": self.rollback,
            "server's clock": self.server_clock,
            "workers' clock": self.worker_clock,
            **(store if "://" in self.world.store.uri else {}),
        }

    def propose(self, kind: str) -> str | None:
        """Ask for a version's release, and for a run of it; None while the store is away."""
        self.runs.wake()
        try:
            return f"version {self.candidates.propose(kind)}, {kind}"
        except Transient:
            return None

    def task(self) -> str | None:
        """Kill the process of a release, and let it be tried again."""
        run_ids = list(self.runs.running)
        self.draw.shuffle(run_ids)
        return next(
            (f"at {task}" for run_id in run_ids if (task := self.runs.kill(run_id)) is not None), None
        )

    def task_of_a_canary(self) -> str | None:
        """The same, while live requests reach the version."""
        if not self._canary_comes():
            return None
        time.sleep(self.draw.uniform(0, 3))
        return self.task()

    def server(self) -> str | None:
        """Kill one server; the other one goes on."""
        self._wait_for_both()
        host = self.draw.choice(HOSTS)
        self.looks.kill(host)
        time.sleep(self.draw.uniform(0, 1))
        self.looks.start(host)
        return host

    def mlflow_killed(self) -> str | None:
        """Kill MLflow, and start it again."""
        if not self.mlflow.answers:
            return None
        self.mlflow.kill()
        time.sleep(self.draw.uniform(0, 3))
        self.mlflow.start()
        return "brought back"

    def store_killed(self) -> str | None:
        """Kill the S3 server, and bring it back."""
        killed = run_command("STORE_FAULT", "kill")
        time.sleep(self.draw.uniform(0, 2))
        run_command("STORE_UP")
        return "brought back" if killed else None

    def store_silent(self) -> str | None:
        """Let the S3 server answer nobody for a while."""
        seconds = self.draw.choice((1, 3, 6))
        return f"{seconds} s" if run_command("STORE_FAULT", "freeze", str(seconds)) else None

    def second_release(self) -> str | None:
        """Start another release beside the one that runs."""
        if not self.runs.at_work_now():
            return None
        return self.runs.begin(RELEASE)

    def candidate(self) -> str | None:
        """Propose another version while one is compared on live requests."""
        return self.propose(self.candidates.draw_kind()) if self._canary_comes() else None

    def rollback(self) -> str | None:
        """Ask for the champion before, while a release is at work."""
        return self.runs.begin(ROLLBACK) if self.runs.at_work_now() else None

    def server_clock(self) -> str | None:
        """A server's clock goes to a minute ahead, a minute behind, or right again, while it runs."""
        host = self.draw.choice(HOSTS)
        clock = self.looks.servers.clocks[host]
        clock.set(self.draw.choice([off for off in (-MINUTE, 0, MINUTE) if off != clock.seconds]))
        return f"{host} {clock.seconds:+} s"

    def worker_clock(self) -> str | None:
        """The workers' clock goes a minute ahead (one that goes back only prolongs a rung)."""
        self.runs.clock.set(self.runs.clock.seconds + MINUTE)
        return f"{self.runs.clock.seconds:+} s"

    def _canary_comes(self) -> bool:
        ends = time.monotonic() + _COMES_WITHIN
        while time.monotonic() < ends:
            self.runs.look_after()
            with suppress(Transient):
                if self.world.state().candidate is not None:
                    return True
            time.sleep(0.05)
        return False

    def _wait_for_both(self) -> None:
        """One server at a time: users need the other one."""
        ends = time.monotonic() + _BACK_WITHIN
        while len(self.looks.ready) < len(HOSTS):
            assert time.monotonic() < ends, f"only {sorted(self.looks.ready)} came back"
            self.runs.look_after()
            time.sleep(0.05)
