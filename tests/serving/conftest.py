"""Packages are trained once; stores are new for each test, in a folder and, where there is one, on S3."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from include.lifecycle.store.objects import Store
from tests.serving.released import make_package


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two versions of the model that answer differently."""
    folder = tmp_path_factory.mktemp("packages")
    return {version: make_package(folder / version, seed=int(version)) for version in ("1", "2")}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store in a folder."""
    return Store(str(tmp_path / "store"))


@pytest.fixture(params=["folder", "s3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store in a folder, then one on S3."""
    if request.param == "folder":
        return Store(str(tmp_path / "store"))
    if "AWS_ENDPOINT_URL" not in os.environ:
        pytest.skip("AWS_ENDPOINT_URL names no S3")
    return Store(f"s3://lake/test-{uuid.uuid4().hex}")
