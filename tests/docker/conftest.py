"""One project, whose steps run in pods, for all tests of the deployment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from urllib.parse import urlsplit

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-of-tests-"))  # before any import of it

import uuid

import pytest

from include.lifecycle.store.objects import Store
from tests.docker.cluster import Cluster
from tests.docker.mlflow_server import mlflow_server
from tests.docker.pods import Pods, pod_environment
from tests.lifecycle import tiny


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
        cluster.share("perennial-store", pod_environment(store.uri, pod_endpoint, MLFLOW_TRACKING_URI=mlflow))
        yield Pods(cluster, image, project)
