"""A tiny project for each test; a world with published days and a trained version, made once."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt, read_receipt
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project

settings.register_profile(
    "perennial",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("perennial")

PUBLISHED_DAYS = 24
TRAINED_ON_DAY = 22


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store in a folder."""
    return Store(str(tmp_path / "store"))


@pytest.fixture
def s3_store() -> Store:
    """An empty store on S3, where there is one."""
    if "AWS_ENDPOINT_URL" not in os.environ:
        pytest.skip("AWS_ENDPOINT_URL names no S3")
    return Store(f"s3://lake/test-{uuid.uuid4().hex}")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project: specs, no rows."""
    return tiny.make_project(tmp_path / "project", monkeypatch)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with 24 published days and a training as of the 22nd, and that training's run key."""
    root = tmp_path_factory.mktemp("template") / "project"
    with pytest.MonkeyPatch.context() as env:
        project = tiny.make_project(root, env)
        tiny.put_days(project, 1, PUBLISHED_DAYS)
        trained = tiny.train_as_of(project, tiny.midnight(TRAINED_ON_DAY))
    return root, trained.run_key


@pytest.fixture
def world(template: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with 24 published days; a copy that a test may change."""
    return tiny.copy_of(template[0], tmp_path / "world", monkeypatch)


@pytest.fixture
def trained(template: tuple[Path, str], world: Project) -> Receipt:
    """The training as of the 22nd day, in the world's store."""
    return read_receipt(template[1], world.store)
