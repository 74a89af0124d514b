"""Packages are trained once; stores are new for each test, in a folder and, where there is one, on S3."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.lifecycle.release.document import Release
from include.lifecycle.store.objects import Store
from tests.serving.answering_server import AnsweringServer
from tests.serving.released import FEATURES, INPUTS, make_package, release_of


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two versions of the model that answer differently."""
    folder = tmp_path_factory.mktemp("packages")
    return {version: make_package(folder / version, seed=int(version)) for version in ("1", "2")}


@pytest.fixture(scope="session")
def more_packages(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Those, one that breaks on a carrier XX as no smoke test would know, and one with an input more."""
    folder = tmp_path_factory.mktemp("more")
    brittle = FEATURES.replace(b"    return", b"    assert 'XX' not in rows['carrier']\n    return")
    with_origin = FEATURES.replace(b'        "hour"', b'        "origin": rows["origin"],\n        "hour"')
    inputs = {**INPUTS, "origin": "string"}
    return {
        **packages,
        "brittle": make_package(folder / "brittle", seed=2, features=brittle),
        "origin": make_package(folder / "origin", seed=2, features=with_origin, inputs=inputs),
    }


@pytest.fixture
def releases(store: Store, more_packages: dict[str, Path]) -> dict[str, Release]:
    """Version 1, and the other packages as version 2."""
    versions = {name: "1" if name == "1" else "2" for name in more_packages}
    return {name: release_of(more_packages[name], version, store) for name, version in versions.items()}


@pytest.fixture
def server(tmp_path: Path, store: Store) -> Iterator[AnsweringServer]:
    """A server without HTTP."""
    server = AnsweringServer(tmp_path / "home", store)
    yield server
    server.close()


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
