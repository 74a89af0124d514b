"""One project, whose steps run in pods, for all tests of the deployment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-of-tests-"))  # before any import of it

import pytest

from tests.docker.cluster import Cluster
from tests.docker.pods import Pods, running_pods


@pytest.fixture(scope="module")
def pods(
    cluster: Cluster, image: str, pod_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pods]:
    """A project with 24 published days on S3, and an MLflow."""
    with running_pods(cluster, image, pod_endpoint, tmp_path_factory.mktemp("pods")) as running:
        yield running


@pytest.fixture
def profile(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile of the cluster's namespace, and the connections that Airflow would have."""
    for name, text in pods.airflow_environment().items():
        monkeypatch.setenv(name, text)
