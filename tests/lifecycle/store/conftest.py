"""Every test of the store runs on a folder and, where there is one, on S3."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from include.lifecycle.store.objects import Store


@pytest.fixture
def s3_store() -> Store:
    """An empty store on S3, where there is one."""
    if "AWS_ENDPOINT_URL" not in os.environ:
        pytest.skip("AWS_ENDPOINT_URL names no S3")
    return Store(f"s3://lake/test-{uuid.uuid4().hex}")


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store."""
    if request.param == "folder":
        return Store(str(tmp_path / "store"))
    store: Store = request.getfixturevalue("s3_store")
    return store
