from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from mlops.operators.clean import CleanClusterOperator, CleanStoreOperator

from tests.lifecycle.tiny import Project
from tests.plugins.contexts import context_of


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else's scratch folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def _clean() -> object:
    return CleanStoreOperator(task_id="store").execute(context_of(dag_id="perennial.clean"))


def test_what_is_older_than_the_profile_allows_goes_and_damage_is_told(project: Project) -> None:
    project.store.keep(b"half")
    project.store.replace("receipts/x.json", b"?")
    project.store.replace("checkpoints/x/final-000001", b"trees")
    assert _clean() == {"folders": 0, "objects": 0, "damaged": ["receipts/x.json"]}
    project.store.remove("receipts/x.json")
    for file in Path(project.store.uri).rglob("*"):
        os.utime(file, (file.stat().st_mtime - 2 * 86_400,) * 2)
    assert _clean() == {"folders": 0, "objects": 2, "damaged": []}
    assert project.store.list("objects") == []


@pytest.mark.usefixtures("project")
def test_where_steps_run_in_tasks_there_are_no_pods_to_look_for() -> None:
    with pytest.raises(AirflowSkipException, match="there are no pods"):
        CleanClusterOperator(task_id="cluster").execute(context_of(dag_id="perennial.clean"))
