"""A project whose steps run as pods: on a real cluster, with a store on S3 and an MLflow."""

from __future__ import annotations

import copy
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, Receipt, read_receipt, write_call
from tests.docker.cluster import Cluster, step_pod
from tests.docker.mlflow_server import mlflow_server
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project

_PATIENCE = 300
"""Seconds that something may take on a busy machine."""
_OF_THE_STORE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
    "AWS_ALLOW_HTTP",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
)


def pod_environment(store: str, endpoint: str, **more: str) -> dict[str, str]:
    """What the Secret `perennial-store` says: where a step finds things, and the store's credentials."""
    credentials = {name: os.environ[name] for name in _OF_THE_STORE}
    return {"PERENNIAL_STORE": store, "AWS_ENDPOINT_URL": endpoint, **more, **credentials}


def store_on_s3() -> Store:
    """An empty store of its own on S3."""
    return Store(f"s3://lake/test-{uuid.uuid4().hex}")


@contextmanager
def running_pods(cluster: Cluster, image: str, endpoint: str, folder: Path) -> Iterator[Pods]:
    """A project with 24 published days on S3, and an MLflow; the environment is the project's meanwhile."""
    store = store_on_s3()
    with (
        pytest.MonkeyPatch.context() as env,
        mlflow_server(folder, str(urlsplit(endpoint).hostname)) as mlflow,
    ):
        project = tiny.make_project(folder / "project", env, store)
        tiny.put_days(project, 1, 24)
        cluster.share("perennial-store", pod_environment(store.uri, endpoint, MLFLOW_TRACKING_URI=mlflow))
        yield Pods(cluster, image, project)


class Pods:
    """Runs calls in pods, on the store of a project."""

    def __init__(self, cluster: Cluster, image: str, project: Project) -> None:
        self.cluster, self.image, self.project = cluster, image, project

    def airflow_environment(self, **profile: Any) -> dict[str, str]:
        """What makes operators run steps in these pods, with that in the profile too."""
        images = {"trainer": self.image, "lost": "perennial-trainer:nowhere"}
        text = json.dumps({"kubernetes": {"namespace": self.cluster.namespace, "images": images}, **profile})
        (self.project.specs / "profiles/pods.yaml").write_text(text)
        return {
            "PERENNIAL_PROFILE": "pods",
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": '{"conn_type": "kubernetes"}',
            "AIRFLOW_CONN_PERENNIAL_STORE": '{"conn_type": "generic"}',
        }

    def run(self, call: Call, *secrets: str) -> Receipt:
        """The receipt that the pod of a call leaves; the pod sees these Secrets beside the store's."""
        write_call(call, self.project.store)
        pod = step_pod(self.image, call.run_key)
        pod["spec"]["containers"][0]["envFrom"] += [{"secretRef": {"name": name}} for name in secrets]
        code, said = self.cluster.run(pod)
        assert code == 0, said
        return read_receipt(call.run_key, self.project.store)

    def greedy(self) -> dict[str, Any]:
        """Inputs of a call whose feature code takes more memory than a small pod has, at once: one that has
        hardly enough for its libraries reads their files again and again instead of being ended."""
        code = self.project.store.keep(b"import numpy\n\nTAKEN = numpy.ones(1 << 29)\n")
        return {"features": code.model_dump(mode="json")}

    def of(self, call: Call) -> list[dict[str, Any]]:
        """The pods that were started for a call and are still there, the oldest first."""
        found = self.cluster.kubectl(
            "get", "pods", f"--selector=perennial/run-key={call.run_key[:32]}", "--output=json"
        )
        pods: list[dict[str, Any]] = json.loads(found)["items"]
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def await_end(self, call: Call) -> None:
        """Wait until every pod of a call has ended."""
        _until(lambda: all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in self.of(call)))

    def await_running(self, call: Call) -> None:
        """Wait until a pod of a call runs."""
        _until(lambda: any(pod["status"]["phase"] == "Running" for pod in self.of(call)))

    def await_gone(self, call: Call) -> None:
        """Wait until no pod of a call runs or waits any more."""
        _until(lambda: not [pod for pod in self.of(call) if pod["status"]["phase"] in ("Pending", "Running")])

    def start_another(self, call: Call) -> None:
        """Start a second pod like the one that a call has."""
        (first,) = self.of(call)
        second = copy.deepcopy({key: first[key] for key in ("apiVersion", "kind", "spec")})
        second["spec"].pop("nodeName", None)
        second["metadata"] = {
            "generateName": "second-",
            "labels": {key: text for key, text in first["metadata"]["labels"].items() if "/" in key},
        }
        self.cluster.create(second)

    def kill(self, call: Call) -> None:
        """Take the pods of a call away at once, as a lost node does."""
        for pod in self.of(call):
            self.delete(pod["metadata"]["name"])

    def delete(self, name: str) -> None:
        """Take a pod away at once."""
        self.cluster.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")


def _until(done: Callable[[], bool]) -> None:
    ends = time.monotonic() + _PATIENCE
    while not done():
        assert time.monotonic() < ends
        time.sleep(0.5)
