"""Whoever stops a task in the UI stops its pod: on a real Airflow and a real cluster.

The pod's image does nothing for an hour, unless it is told to end.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from datetime import date

import pytest

from include.demo import feed
from tests.docker.cluster import Cluster
from tests.system.faults import Chaos
from tests.system.restarting import restarting_airflow
from tests.system.world import Nodes, World, running_world

pytestmark = pytest.mark.stack
DAG, TASK = "flights.ingest", "extract"
PATIENT = """
FROM python:3.11-slim-bookworm
USER 10001:10001
ENTRYPOINT ["python", "-c", "import signal, time; signal.signal(15, lambda *_: exit(143)); time.sleep(3600)"]
"""
_SECONDS = 60.0
"""In which a pod goes: two, but a triggerer imports Kubernetes' client for its first one."""
_TAKEN_UP = 3.0
"""Seconds from when a triggerer has taken up a trigger until it surely runs."""


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tag of an image that waits."""
    if "PERENNIAL_BUILD_IMAGE" not in os.environ:
        pytest.skip("PERENNIAL_BUILD_IMAGE names no builder of images")
    context, tag = tmp_path_factory.mktemp("patient"), "perennial-patient:test"
    (context / "Dockerfile").write_text(PATIENT)
    command = [os.environ["PERENNIAL_BUILD_IMAGE"], tag, str(context)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-5000:]
    return tag


@pytest.fixture(scope="module")
def world(cluster: Cluster, patient: str, pod_endpoint: str) -> Iterator[World]:
    with running_world(Nodes(cluster, patient, pod_endpoint), restarting_airflow) as running:
        running.airflow.wait_for_dags({DAG, "perennial.clean"})
        running.airflow.unpause(DAG)
        yield running


class Waiting:
    """A run whose first task is deferred, and waits for a pod that runs."""

    def __init__(self, world: World, cluster: Cluster, day: date) -> None:
        self.world, self.cluster, self.known = world, cluster, set[str]()
        self.known |= self.pods("Pending", "Running")
        feed.deliver_flights(world.replay.landing, day)
        body = {"logical_date": None, "conf": {"partition": day.isoformat()}}
        self.run_id = world.airflow.send("POST", f"/dags/{DAG}/dagRuns", body)["dag_run_id"]
        self.pod = self.next_pod()

    @property
    def state(self) -> str:
        """The task's."""
        return self.world.airflow.task_states(DAG, self.run_id)[TASK]

    @property
    def has_triggerer(self) -> bool:
        """Whether a triggerer has taken up the task's trigger; before that nobody hears of its end."""
        path = f"/dags/{DAG}/dagRuns/{self.run_id}/taskInstances/{TASK}"
        trigger = self.world.airflow.get(path, {})["trigger"]
        return trigger is not None and trigger["triggerer_id"] is not None

    def next_pod(self) -> str:
        """Wait until the task waits for a pod that runs, and return the pod's name."""
        names: set[str] = set()

        def there() -> bool:
            names.clear()
            names.update(self.pods("Running") - self.known)
            return len(names) == 1 and self.state == "deferred" and self.has_triggerer

        self.world.airflow.until(there, "a pod that runs", patience=180)
        time.sleep(_TAKEN_UP)
        (name,) = names
        self.known.add(name)
        return name

    def pods(self, *phases: str) -> set[str]:
        """The namespace's pods in these phases that nobody deleted yet."""
        found = json.loads(self.cluster.kubectl("get", "pods", "--output=json"))["items"]
        going = [item for item in found if "deletionTimestamp" not in item["metadata"]]
        return {item["metadata"]["name"] for item in going if item["status"]["phase"] in phases}

    def mark(self, state: str) -> None:
        """What a person does in the UI."""
        path = f"/dags/{DAG}/dagRuns/{self.run_id}/taskInstances/{TASK}"
        self.world.airflow.send("PATCH", path, {"new_state": state})

    def clear(self) -> None:
        """What a person does in the UI."""
        body = {"dag_run_id": self.run_id, "task_ids": [TASK], "dry_run": False, "only_failed": False}
        self.world.airflow.send("POST", f"/dags/{DAG}/clearTaskInstances", body)

    def goes(self, pod: str) -> float:
        """Seconds until a pod is told to end."""
        began = time.monotonic()
        self.world.airflow.until(lambda: pod not in self.pods("Pending", "Running"), "the end of a pod", 120)
        return time.monotonic() - began


@pytest.fixture
def waiting(world: World, cluster: Cluster, days: Iterator[date]) -> Iterator[Waiting]:
    found = Waiting(world, cluster, next(days))
    yield found
    if found.state == "deferred":
        found.mark("failed")
    world.airflow.until(lambda: not found.pods("Pending", "Running"), "the end of all pods", 60)


@pytest.fixture(scope="module")
def days() -> Iterator[date]:
    """A day that nobody asked for yet."""
    return iter([date(2013, 1, day) for day in range(1, 10)])


@pytest.mark.parametrize("state", ["failed", "success"])
def test_marking_a_task_ends_its_pod(waiting: Waiting, state: str) -> None:
    waiting.mark(state)
    assert waiting.goes(waiting.pod) < _SECONDS


def test_clearing_a_task_ends_its_pod_and_the_next_try_has_one_of_its_own(waiting: Waiting) -> None:
    waiting.clear()
    assert waiting.goes(waiting.pod) < _SECONDS
    assert waiting.next_pod() != waiting.pod


def test_a_pod_that_outlived_the_triggerer_is_the_janitors(waiting: Waiting, cluster: Cluster) -> None:
    settings = waiting.world.stack.settings
    assert Chaos(str(settings.airflow), cluster, random.Random(1)).triggerer()
    waiting.mark("failed")
    another = Waiting(waiting.world, cluster, date(2013, 1, 20))
    assert waiting.pod in waiting.pods("Running"), "whoever would have ended it was dead"
    cleaned = waiting.world.airflow.trigger("perennial.clean", {})
    assert cleaned["state"] == "success"
    assert waiting.goes(waiting.pod) < _SECONDS
    assert another.pods("Running") == {another.pod}
    another.mark("failed")
