"""Airflow in a folder of its own, without a database: operators run by their `execute`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-of-tests-"))  # before any import of it

import pytest

from tests.lifecycle import tiny
from tests.lifecycle.conftest import template
from tests.lifecycle.tiny import Project

__all__ = ["template"]


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's connection leaves all to the environment, as in airflow_settings.yaml."""
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_STORE", '{"conn_type": "aws"}')


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project: specs, no rows."""
    return tiny.make_project(tmp_path / "project", monkeypatch)


@pytest.fixture
def world(template: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with 24 published days; a copy that a test may change."""
    return tiny.copy_of(template[0], tmp_path / "world", monkeypatch)
