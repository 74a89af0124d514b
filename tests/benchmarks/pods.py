"""What does it cost to run a step as a pod?

`python -m tests.benchmarks pods` needs a cluster (KUBECONFIG), a builder of images (PERENNIAL_BUILD_IMAGE)
and S3 for both (AWS_ENDPOINT_URL, PERENNIAL_S3_POD_ENDPOINT). A training that keeps a checkpoint after
each tree shows when its first tree is there. Kubernetes tells whole seconds, rounded down: what is counted
from a pod's creation is half a second too long in the mean. When its container began, the process says.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from unittest.mock import patch

from tenacity import retry, retry_if_exception_type, stop_after_attempt

os.environ.setdefault("AIRFLOW_HOME", mkdtemp(prefix="airflow-of-benchmarks-"))  # before any import of it
os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR")
sys.path.append(str(Path(__file__).resolve().parents[2] / "plugins"))  # as Airflow does

from include.lifecycle.spec.compute import Compute
from include.lifecycle.steps import train
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, receipt_path, write_call
from tests.benchmarks.figures import Figure, at_most, plain
from tests.docker.cluster import built_image, deployed, python_pod
from tests.docker.deferral import Task, run_to_end
from tests.docker.pods import Pods, running_pods
from tests.lifecycle.tiny import MODEL, midnight

ROUNDS = 5
MAX_FIRST_TREE, MAX_OURS, MAX_AGAIN = 10.0, 3.0, 0.5
LIBRARIES = """
import time
began = time.perf_counter()
import deltalake, duckdb, pandas, pyarrow.dataset, xgboost
print(time.perf_counter() - began)
"""
"""What a training imports of others, on its way to the first tree."""

SAYS_WHEN_IT_BEGAN = """
import time
_since_boot = float(open("/proc/self/stat").read().rpartition(")")[2].split()[19]) / 100
print("began", time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + _since_boot)
"""
"""Features that tell the start of their process: a pod's status has whole seconds."""


def run() -> list[Figure]:
    """Run trainings one after the other as a pod, then in this process, then again."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        with (
            deployed("perennial-benchmark", root / "manifests") as cluster,
            running_pods(cluster, built_image(), os.environ["PERENNIAL_S3_POD_ENDPOINT"], root) as pods,
            patch.dict(os.environ, pods.airflow_environment()),
        ):
            # A checkpoint after each tree shows when the first is there.
            pods.project.edit("models/late.yaml", "  seed: 3", "  segment: 1\n  checkpoint: 0s\n  seed: 3")
            pods.project.add("models/late.py", SAYS_WHEN_IT_BEGAN)
            seeds = count()
            rounds = [_round(pods, seeds) for _ in range(ROUNDS + 1)][1:]
            libraries = statistics.median(_seconds_of_libraries(pods) for _ in range(ROUNDS))
    first, started, added, again = (
        statistics.median(getattr(each, name) for each in rounds)
        for name in ("first_tree", "started", "added", "again")
    )
    return [
        at_most("pod created to first tree, image present (s)", MAX_FIRST_TREE, first, ".1f"),
        at_most("of that from the container's start (s)", MAX_OURS, started, ".1f"),
        plain("the import of XGBoost and its like, in a pod of its own (s)", f"{libraries:.1f}"),
        plain("a step as a pod, beyond the same call in process (s)", f"{added:.1f}"),
        at_most("a step whose receipt is there, run again (s)", MAX_AGAIN, again, ".2f"),
    ]


class LogLost(RuntimeError):
    """Nodes that share a disk clear away each other's logs, about once a minute."""


_kept = retry(retry=retry_if_exception_type(LogLost), stop=stop_after_attempt(5), reraise=True)


class _Round:
    """The seconds of one training; raises LogLost when its pod's log does not say when it began."""

    def __init__(self, pods: Pods, call: Call) -> None:
        store = pods.project.store
        trees: list[float] = []
        watch = threading.Thread(target=_await_checkpoint, args=(call.run_key, store, trees), daemon=True)
        watch.start()
        began = time.monotonic()
        run_to_end(lambda: _operator(call), Task("train"))
        as_pod = time.monotonic() - began
        watch.join()
        pod, *others = pods.of(call)
        said = re.search(r"began (\S+)", pods.cluster.kubectl("logs", pod["metadata"]["name"]))
        if said is None or others:
            raise LogLost(pod["metadata"]["name"])
        self.first_tree = trees[0] - _seconds(pod["metadata"]["creationTimestamp"])
        self.started = trees[0] - float(said[1])
        store.remove(receipt_path(call.run_key))
        began = time.monotonic()
        run_step(call, store)
        self.added = as_pod - (time.monotonic() - began)
        began = time.monotonic()
        run_step(call, store)
        self.again = time.monotonic() - began


@_kept
def _round(pods: Pods, seeds: Iterator[int]) -> _Round:
    return _Round(pods, _training(pods, next(seeds)))


@_kept
def _seconds_of_libraries(pods: Pods) -> float:
    code, said = pods.cluster.run(python_pod(pods.image, LIBRARIES))
    assert code == 0, said
    try:
        return float(said)
    except ValueError:
        raise LogLost(said) from None


def _await_checkpoint(run_key: str, store: Store, seen: list[float]) -> None:
    while not store.list(f"checkpoints/{run_key}"):
        time.sleep(0.1)  # more often, the looking takes the time of what is looked for
    seen.append(time.time())


def _training(pods: Pods, seed: int) -> Call:
    project = pods.project
    call = train.plan(project.catalog.model(MODEL), project.catalog, midnight(22), project.store)
    call = call.model_copy(update={"seed": seed})
    write_call(call, project.store)
    return call


def _operator(call: Call) -> object:
    from mlops.operators.pod import StepPodOperator

    return StepPodOperator(task_id="train", run_key=call.run_key, compute=Compute(cpu=1, deadline="10m"))


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
