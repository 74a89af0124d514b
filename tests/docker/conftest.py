"""One image and one namespace for all tests of the deployment."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-of-tests-"))  # before any import of it

import pytest

from include.lifecycle.store.objects import Store
from tests.docker.cluster import ROOT, Cluster, deployed
from tests.docker.mlflow_server import mlflow_server
from tests.docker.pods import Pods
from tests.lifecycle import tiny

_OF_THE_STORE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
    "AWS_ALLOW_HTTP",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A namespace with the manifests applied, on a real cluster."""
    if "KUBECONFIG" not in os.environ:
        pytest.skip("KUBECONFIG names no cluster")
    name = f"perennial-test-{uuid.uuid4().hex[:8]}"
    with deployed(name, tmp_path_factory.mktemp("deployed") / "manifests") as found:
        yield found


@pytest.fixture(scope="session")
def image() -> str:
    """The tag of the trainer image, built of what is here and loaded into the cluster.

    PERENNIAL_BUILD_IMAGE is the command that does both; it gets the tag, the context and the Dockerfile.
    """
    if "PERENNIAL_BUILD_IMAGE" not in os.environ:
        pytest.skip("PERENNIAL_BUILD_IMAGE names no builder of images")
    tag = os.environ.get("PERENNIAL_TEST_IMAGE", "perennial-trainer:test")
    command = [os.environ["PERENNIAL_BUILD_IMAGE"], tag, str(ROOT), str(ROOT / "docker/trainer/Dockerfile")]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-5000:]
    return tag


@pytest.fixture(scope="module")
def pod_endpoint() -> str:
    """Where pods find the S3 server."""
    if "PERENNIAL_S3_POD_ENDPOINT" not in os.environ:
        pytest.skip("PERENNIAL_S3_POD_ENDPOINT names no S3 for pods")
    return os.environ["PERENNIAL_S3_POD_ENDPOINT"]


@pytest.fixture(scope="module")
def pods(
    cluster: Cluster, image: str, pod_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pods]:
    """A project with 24 published days on S3, and an MLflow."""
    folder = tmp_path_factory.mktemp("pods")
    store = Store(f"s3://lake/test-{uuid.uuid4().hex}")
    with (
        pytest.MonkeyPatch.context() as env,
        mlflow_server(folder, str(urlsplit(pod_endpoint).hostname)) as mlflow,
    ):
        project = tiny.make_project(folder / "project", env, store)
        tiny.put_days(project, 1, 24)
        pods = Pods(cluster, image, project)
        credentials = {name: os.environ[name] for name in _OF_THE_STORE}
        where = {
            "PERENNIAL_STORE": store.uri,
            "AWS_ENDPOINT_URL": pod_endpoint,
            "MLFLOW_TRACKING_URI": mlflow,
        }
        pods.share("perennial-store", {**where, **credentials})
        yield pods


@pytest.fixture
def profile(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile of the cluster's namespace, and the connections that Airflow would have."""
    images = {"trainer": pods.image, "lost": "perennial-trainer:nowhere"}
    where = {"namespace": pods.cluster.namespace, "images": images}
    (pods.project.specs / "profiles/pods.yaml").write_text(json.dumps({"kubernetes": where}))
    monkeypatch.setenv("PERENNIAL_PROFILE", "pods")
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", '{"conn_type": "kubernetes"}')
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_STORE", '{"conn_type": "generic"}')
