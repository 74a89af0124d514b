"""A champion, trained by the real steps and served by the real server while a test does harm."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before Airflow is imported: it writes a configuration into its home.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-"))

from tests.bad_input.project import MlflowServer, Project
from tests.serving.running import RunningServer, wait_until


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """MLflow's server, down until a test starts it."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory, mlflow: MlflowServer) -> Path:
    """The home of a project whose champion is version 1; to be copied, never changed."""
    project = Project(tmp_path_factory.mktemp("founded"), mlflow)
    with pytest.MonkeyPatch.context() as patch:
        project.use(patch)
        with mlflow:
            project.found()
    return project.home


@pytest.fixture(scope="module")
def served(
    founded: Path, mlflow: MlflowServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A copy of the founded project, whose champion a server answers with."""
    home = tmp_path_factory.mktemp("served")
    shutil.copytree(founded, home, dirs_exist_ok=True)
    project = Project(home, mlflow)
    with RunningServer(home / "server", project.store.uri) as project.server:
        wait_until(lambda: project.answering_version() == "1", "the champion answers")
        yield project


@pytest.fixture
def project(served: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The served project, in which a test works."""
    served.use(monkeypatch)
    return served


@pytest.fixture
def control(founded: Path, mlflow: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Another copy, in which nothing goes wrong: what a cure must lead to."""
    shutil.copytree(founded, tmp_path / "control")
    return Project(tmp_path / "control", mlflow)
