"""Every test of the store runs on a folder and, where there is one, on S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.lifecycle.store.objects import Store


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store."""
    if request.param == "folder":
        return Store(str(tmp_path / "store"))
    store: Store = request.getfixturevalue("s3_store")
    return store
