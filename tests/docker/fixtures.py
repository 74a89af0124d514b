"""One image and one namespace for all tests that run pods."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.docker.cluster import Cluster, built_image, deployed


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
    return built_image()


@pytest.fixture(scope="session")
def server_image() -> str:
    """The tag of the server image, built of what is here and loaded into the cluster."""
    if "PERENNIAL_BUILD_IMAGE" not in os.environ:
        pytest.skip("PERENNIAL_BUILD_IMAGE names no builder of images")
    return built_image("server")


@pytest.fixture(scope="session")
def pod_endpoint() -> str:
    """Where pods find the S3 server."""
    if "PERENNIAL_S3_POD_ENDPOINT" not in os.environ:
        pytest.skip("PERENNIAL_S3_POD_ENDPOINT names no S3 for pods")
    return os.environ["PERENNIAL_S3_POD_ENDPOINT"]
