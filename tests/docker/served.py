"""A model server deployed to a real cluster as Airflow would do it: by its operator and its account."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlops.operators.deploy import DeployOperator
from mlops.release_map import announcer

from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.release.document import Release, ReleaseDocument, write_release
from include.lifecycle.store.objects import Store
from tests.docker.callers import Callers
from tests.docker.cluster import Cluster
from tests.docker.deferral import Task, context_of
from tests.docker.pods import pod_environment, store_on_s3
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project
from tests.serving.released import MODEL, make_package, release_of

KEY = "a-key-of-the-tests-alone"
LABEL = "app.kubernetes.io/name=model-server"
PODS = 3
_PATIENCE = 180
"""Seconds that something may take on a busy machine."""


@contextmanager
def served(cluster: Cluster, image: str, endpoint: str, folder: Path) -> Iterator[Deployed]:
    """A project on S3, with nothing deployed yet; the environment is Airflow's meanwhile."""
    with pytest.MonkeyPatch.context() as env:
        project = tiny.make_project(folder / "project", env, store_on_s3())
        made = Deployed(cluster, project, image, env)
        made.prepare(endpoint, folder)
        yield made
    cluster.kubectl("delete", "hpa,deployment", "model-server", "--ignore-not-found", "--wait=false")


@dataclass
class Deployed:
    """The server in a namespace, which follows the documents that it is given here."""

    cluster: Cluster
    project: Project
    image: str
    env: pytest.MonkeyPatch
    releases: dict[str, Release] = field(default_factory=dict)
    seq: int = 0
    acknowledged: set[str] = field(default_factory=set)
    """The requests of all callers that were answered."""
    _profiles: int = 0

    def prepare(self, endpoint: str, folder: Path) -> None:
        """Secrets, two versions in the store, and the rights that Airflow's account has."""
        store = self.project.store
        self.cluster.share("server-store", pod_environment(store.uri, endpoint))
        self.cluster.share("server-keys", {"PERENNIAL_SERVER_KEYS": KEY})
        for version in "12":
            package = make_package(folder / version, seed=int(version))
            self.releases[version] = release_of(package, version, store)
        self._become_airflow(folder / "kubeconfig")

    def deploy(self, dry_run: bool | None = None, **server: Any) -> dict[str, int]:
        """Run the operator with that in the profile; how many lines differ by object."""
        said = {
            "image": self.image,
            "max_replicas": PODS,  # starting takes more than the little that they are promised
            "cpu": 0.1,
            "memory": "1Gi",
            "secrets": ["server-store", "server-keys"],
        }
        cluster = {"namespace": self.cluster.namespace, "server": {**said, **server}}
        self._profiles += 1  # each is read once
        profile = f"served-{self._profiles}"
        (self.project.specs / f"profiles/{profile}.yaml").write_text(json.dumps({"kubernetes": cluster}))
        self.env.setenv("PERENNIAL_PROFILE", profile)
        context = {**context_of(Task("deploy")), "params": {"dry_run": dry_run}}
        changed: dict[str, int] = DeployOperator(task_id="deploy").execute(context)["changed"]
        return changed

    def release(self, version: str) -> None:
        """Make a version the champion, by the next document."""
        self.seq += 1
        document = ReleaseDocument(model=MODEL, seq=self.seq, champion=self.releases[version])
        write_release(document, self.project.store)
        announce = announcer()
        assert announce is not None
        announce(document)

    @contextmanager
    def callers(self) -> Iterator[Callers]:
        """Callers of the Service, whom the cluster sends to any pod."""
        service = json.loads(self.cluster.kubectl("get", "service", "model-server", "--output=json"))
        callers = Callers(service["spec"]["clusterIP"], service["spec"]["ports"][0]["port"], KEY)
        with callers:
            yield callers
        self.acknowledged |= set(callers.answered)

    def released(self, model: str) -> ReleaseDocument:
        """The document that the servers watch."""
        found = json.loads(self.cluster.kubectl("get", "configmap", "model-releases", "--output=json"))
        return ReleaseDocument.model_validate_json(found["data"][model])

    def pods(self) -> list[dict[str, Any]]:
        """All pods, those that are going included."""
        found = self.cluster.kubectl("get", "pods", f"--selector={LABEL}", "--output=json")
        pods: list[dict[str, Any]] = json.loads(found)["items"]
        return pods

    def live(self) -> list[str]:
        """The names of the pods whose servers answer, if only that they have nothing to answer with."""
        return [
            pod["metadata"]["name"]
            for pod in self.pods()
            if any(item["started"] for item in pod["status"].get("containerStatuses", []))
        ]

    def restarts(self) -> int:
        """How often a server was started again in the pods that are there."""
        statuses = [item for pod in self.pods() for item in pod["status"].get("containerStatuses", [])]
        return sum(item["restartCount"] for item in statuses)

    def ready(self) -> list[str]:
        """The names of the pods that get requests."""
        return [
            pod["metadata"]["name"]
            for pod in self.pods()
            if _is(pod, "Ready") and "deletionTimestamp" not in pod["metadata"]
        ]

    def await_ready(self, count: int) -> None:
        """Wait until so many pods are ready, and no other is there or going."""
        self.wait(lambda: len(self.ready()) == len(self.pods()) == count, f"{count} pods are ready")

    def await_version(self, version: str) -> float:
        """Seconds until every pod answers with a version."""
        began = time.monotonic()
        addresses = [pod["status"]["podIP"] for pod in self.pods()]
        self.wait(lambda: all(_serves(address, version) for address in addresses), f"all serve {version}")
        return time.monotonic() - began

    @staticmethod
    def wait(condition: Callable[[], bool], what: str) -> None:
        """Wait for something that takes a while."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain until {what}"
            time.sleep(0.2)

    def _become_airflow(self, file: Path) -> None:
        """Whatever Airflow does from now on it does by its account's rights."""
        token = self.cluster.kubectl("create", "token", "perennial-airflow")
        config = json.loads(self.cluster.kubectl("config", "view", "--raw", "--minify", "--output=json"))
        config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
        file.write_text(json.dumps(config))
        extra = {"kube_config_path": str(file)}
        connection = {"conn_type": "kubernetes", "extra": extra}
        self.env.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
        self.env.setenv("AIRFLOW_CONN_PERENNIAL_STORE", '{"conn_type": "generic"}')


def logged(store: Store) -> list[str]:
    """The request ids in the prediction log, each as often as it is there."""
    dataset = prediction_log(MODEL, store).dataset()
    assert dataset is not None
    found: list[str] = dataset.to_table(["request_id"])["request_id"].to_pylist()
    return found


def _is(pod: dict[str, Any], condition: str) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(item["type"] == condition and item["status"] == "True" for item in conditions)


def _serves(address: str, version: str) -> bool:
    try:
        reply = httpx.get(
            f"http://{address}:8000/v2/models/{MODEL}", headers={"Authorization": f"Bearer {KEY}"}, timeout=5
        )
        return reply.is_success and reply.json()["versions"] == [version]
    except (httpx.TransportError, HTTPException):
        return False
