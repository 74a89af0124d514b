"""One image and one namespace for all tests of the deployment."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-of-tests-"))  # before any import of it

import pytest

from include.lifecycle.store.objects import Store
from tests.docker.cluster import Cluster, build_image, deployed, store_environment
from tests.docker.mlflow_server import mlflow_server
from tests.docker.pods import Pods
from tests.lifecycle import tiny


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
    """The tag of the trainer image, built of what is here and loaded into the cluster."""
    if "PERENNIAL_BUILD_IMAGE" not in os.environ:
        pytest.skip("PERENNIAL_BUILD_IMAGE names no builder of images")
    return build_image()


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
        pods.share("perennial-store", {**store_environment(store), "MLFLOW_TRACKING_URI": mlflow})
        yield pods
