"""What do the callers of a model server in a cluster notice of what happens to it?

`python -m tests.benchmarks server_pods` needs what the tests of the deployment need: a cluster (KUBECONFIG),
a builder of images (PERENNIAL_BUILD_IMAGE), S3 for both, and the commands that harm the cluster
(PERENNIAL_CLUSTER_FAULT and _UP). Callers open a connection for each request, and try nothing twice.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

os.environ.setdefault("AIRFLOW_HOME", mkdtemp(prefix="airflow-of-benchmarks-"))  # before any import of it
os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR")
sys.path.append(str(Path(__file__).resolve().parents[2] / "plugins"))  # as Airflow does

from tests.benchmarks.figures import Figure, at_most, plain
from tests.docker.cluster import built_image, deployed
from tests.docker.served import PODS, Deployed, served
from tests.system.faults import run_command

ROLLBACKS = 5
MAX_ROLLBACK = 15.0
_QUIET = 10
"""Seconds without a failure after which the service is said to go on."""


def run() -> list[Figure]:
    """Roll back some times, kill a container, lose a node."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        with (
            deployed("perennial-benchmark-server", root / "manifests") as cluster,
            served(cluster, built_image("server"), os.environ["PERENNIAL_S3_POD_ENDPOINT"], root) as server,
        ):
            server.deploy()
            server.release("1")
            server.await_ready(PODS)
            return [*_rollbacks(server), *_killed_container(server), *_lost_node(server)]


def _rollbacks(server: Deployed) -> list[Figure]:
    slowest = 0.0
    for number in range(ROLLBACKS):
        version = "21"[number % 2]
        server.release(version)
        slowest = max(slowest, server.await_version(version))
    return [
        at_most(f"a rollback to all {PODS} pods, slowest of {ROLLBACKS} (s)", MAX_ROLLBACK, slowest, ".2f")
    ]


def _killed_container(server: Deployed) -> list[Figure]:
    with server.callers() as callers:
        run_command("CLUSTER_FAULT", "pod", f"{server.cluster.namespace}/{server.ready()[0]}")
        time.sleep(_QUIET)
        server.await_ready(PODS)
    return [
        plain("requests lost when a container was killed", str(len(callers.failed))),
        plain("of so many", str(len(callers.failed) + len(callers.answered))),
    ]


def _lost_node(server: Deployed) -> list[Figure]:
    with server.callers() as callers:
        began, failed, quiet = time.monotonic(), 0, time.monotonic()
        run_command("CLUSTER_FAULT", "node")
        try:
            while time.monotonic() - quiet < _QUIET + 30:  # longer than a caller waits
                if len(callers.failed) > failed:
                    failed, quiet = len(callers.failed), time.monotonic()
                time.sleep(0.5)
            on_one = len(server.ready())
        finally:
            run_command("CLUSTER_UP")
        server.await_ready(PODS)
    return [
        plain("a node lost: the last request that failed came after (s)", f"{quiet - began:.0f}"),
        plain("requests lost, of those sent", f"{failed} of {failed + len(callers.answered)}"),
        plain("pods that answer on the node that is left", str(on_one)),
    ]
