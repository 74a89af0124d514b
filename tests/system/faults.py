"""What can go wrong while steps run as pods: each fault hits something that is at work, or says that
nothing was there to hit.

The commands that harm the cluster and the S3 server, and the ones that bring them back, are given by
PERENNIAL_CLUSTER_FAULT, PERENNIAL_CLUSTER_UP, PERENNIAL_STORE_FAULT and PERENNIAL_STORE_UP.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from tests.docker.cluster import Cluster, Refused

COMMANDS = ("CLUSTER_FAULT", "CLUSTER_UP", "STORE_FAULT", "STORE_UP")
_AWAY = 20
"""Seconds that the S3 server is away."""
_TASK_COMES_WITHIN = 20
"""Seconds in which a task comes to run while there is work."""
_POD_ENDS_WITHIN = 60
"""Seconds that the triggerer is held still at most, until a pod has ended that it waits for."""


def require_commands() -> None:
    """Skip a test that can harm nothing here."""
    missing = [f"PERENNIAL_{name}" for name in COMMANDS if f"PERENNIAL_{name}" not in os.environ]
    if missing:
        pytest.skip(f"{', '.join(missing)}: nothing to harm the cluster and the store with")


@dataclass(frozen=True)
class Chaos:
    """A running Airflow, by its scheduler's home, and the cluster that its steps run on."""

    home: str
    cluster: Cluster
    draw: random.Random

    def task(self) -> str | None:
        """Kill a task's process."""
        return self._end(self._tasks(), signal.SIGKILL)

    def task_terminated(self) -> str | None:
        """Ask a task's process to end, as a node that shuts down does."""
        return self._end(self._tasks(), signal.SIGTERM)

    def task_and_its_supervisor(self) -> str | None:
        """Kill a task with the process that watches over it: nobody can say what became of it."""
        for task in self._tasks():
            with suppress(psutil.NoSuchProcess):
                os.kill(task.ppid(), signal.SIGKILL)
                return self._end([task], signal.SIGKILL)
        return None

    def scheduler(self) -> str | None:
        """Kill the scheduler; what starts Airflow's components starts another one."""
        return self._end(self._components("scheduler"), signal.SIGKILL)

    def triggerer(self) -> str | None:
        """Kill the triggerer, with all that it waits for."""
        return self._end(self._components("triggerer"), signal.SIGKILL)

    def pod_ends_while_nobody_waits(self) -> str | None:
        """Hold the triggerer still until a pod has ended, then kill it."""
        if (pod := self._pod("Running")) is None or not (held := self._components("triggerer")):
            return None
        for process in held:
            process.suspend()
        ends = time.monotonic() + _POD_ENDS_WITHIN
        while self._phase(pod) == "Running" and time.monotonic() < ends:
            time.sleep(0.5)
        self._end(held, signal.SIGKILL)
        return f"{pod}: {self._phase(pod)}"

    def pod_lost(self) -> str | None:
        """Take a pod away at once, as a lost node does."""
        return self._delete("--grace-period=0", "--force")

    def pod_terminated(self) -> str | None:
        """Ask a pod to end, as draining its node does."""
        return self._delete()

    def container(self) -> str | None:
        """Kill a pod's processes behind Kubernetes' back."""
        if (pod := self._pod("Running")) is None:
            return None
        return pod if run_command("CLUSTER_FAULT", "pod", f"{self.cluster.namespace}/{pod}") else None

    def second_pod(self) -> str | None:
        """Start another pod for a call that has one."""
        if (name := self._pod("Pending", "Running")) is None:
            return None
        with suppress(Refused):  # the pod, or the API server, has gone meanwhile
            first = self._get("pod", name)
            spec = {key: value for key, value in first["spec"].items() if key != "nodeName"}
            labels = {key: value for key, value in first["metadata"]["labels"].items() if "/" in key}
            metadata = {"generateName": "second-", "labels": labels}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
            return f"{self.cluster.create(pod)['metadata']['name']} beside {name}"
        return None

    def api_server(self) -> str | None:
        """Kill Kubernetes' API server."""
        return self._away("apiserver", self.draw.uniform(0, 10))

    def kubelet(self) -> str | None:
        """Kill the kubelet of a node: its pods go on, and nobody hears of it."""
        return self._away(f"node-{self.draw.choice((1, 2))}-kubelet", self.draw.uniform(5, 20))

    def node(self) -> str | None:
        """Lose a node, network and all."""
        hit = self._away("node", self.draw.uniform(5, 60))
        return hit or "one without pods"  # which the command does not call a success

    def store(self) -> str | None:
        """Take the S3 server away for a while."""
        return f"{_AWAY} s" if run_command("STORE_FAULT", "freeze", str(_AWAY)) else None

    def store_killed(self) -> str | None:
        """Kill the S3 server, and bring it back."""
        killed = run_command("STORE_FAULT", "kill")
        run_command("STORE_UP")
        return "brought back" if killed else None

    def faults(self) -> dict[str, Callable[[], str | None]]:
        """Every fault by its name; each returns what it hit, or None."""
        return {
            name.replace("_", " "): getattr(self, name)
            for name in (
                "task",
                "task_terminated",
                "task_and_its_supervisor",
                "scheduler",
                "triggerer",
                "pod_ends_while_nobody_waits",
                "pod_lost",
                "pod_terminated",
                "container",
                "second_pod",
                "api_server",
                "kubelet",
                "node",
                "store",
                "store_killed",
            )
        }

    def _away(self, part: str, seconds: float) -> str | None:
        """A part of the cluster, killed and brought back after some time."""
        killed = run_command("CLUSTER_FAULT", part)
        time.sleep(seconds)
        run_command("CLUSTER_UP")
        return f"{part}, {seconds:.0f} s" if killed else None

    def _delete(self, *how: str) -> str | None:
        if (pod := self._pod("Pending", "Running")) is None:
            return None
        with suppress(Refused):
            self.cluster.kubectl("delete", "pod", pod, "--wait=false", *how)
            return pod
        return None

    def _pod(self, *phases: str) -> str | None:
        with suppress(Refused):
            found = json.loads(self.cluster.kubectl("get", "pods", "--output=json"))["items"]
            names = [item["metadata"]["name"] for item in found if item["status"]["phase"] in phases]
            return self.draw.choice(names) if names else None
        return None

    def _get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cluster.kubectl("get", kind, name, "--output=json"))
        return found

    def _phase(self, pod: str) -> str:
        with suppress(Refused):
            return str(self._get("pod", pod)["status"]["phase"])
        return "gone"

    def _tasks(self) -> list[psutil.Process]:
        """A task's process, waited for: while pods are at work, tasks are deferred and have none."""
        ends = time.monotonic() + _TASK_COMES_WITHIN
        while not (found := self._running_tasks()) and time.monotonic() < ends:
            time.sleep(0.1)
        self.draw.shuffle(found)
        return found[:1]

    def _running_tasks(self) -> list[psutil.Process]:
        return [
            process
            for scheduler in self._components("scheduler")
            for process in scheduler.children(recursive=True)
            if _title(process).startswith("airflow worker -- ") and "LocalExecutor" not in _title(process)
        ]

    def _components(self, name: str) -> list[psutil.Process]:
        """The process of a component, and its forks of the same title."""
        return [
            process
            for process in psutil.process_iter()
            if _title(process).endswith(f"-m airflow {name}")
            and "restarting" not in _title(process)
            and _home(process) == self.home
        ]

    def _end(self, processes: list[psutil.Process], how: signal.Signals) -> str | None:
        hit = None
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                hit = hit or _title(process)
                process.send_signal(how)
        return hit


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def _home(process: psutil.Process) -> str | None:
    try:
        home: str | None = process.environ().get("AIRFLOW_HOME")
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return None
    return home


def run_command(name: str, *arguments: str) -> bool:
    """Run a command that a setting names; whether it did what it is for."""
    command = [os.environ[f"PERENNIAL_{name}"], *arguments]
    return subprocess.run(command, capture_output=True, timeout=180).returncode == 0
