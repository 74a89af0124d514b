"""MLflow away: the task fails at once and is retried; the champion does not need MLflow."""

from __future__ import annotations

import time

from include.lifecycle.errors import Transient
from include.lifecycle.model.registry import Registry
from tests.bad_input import tasks
from tests.bad_input.project import MlflowServer, Project, refused


def test_while_mlflow_is_down_tasks_wait_for_it_and_then_do_all_once(
    project: Project, mlflow: MlflowServer
) -> None:
    project.specify(seed=40)
    gated = tasks.gate("down", tasks.train("down"))
    cure = (f"MLflow at http://127.0.0.1:{mlflow.port}", "start it or wait, then clear this task")
    begun = time.monotonic()
    with project.unharmed(), refused(Transient, *cure):
        tasks.register("down", gated)
    with project.unharmed(), refused(Transient, *cure):
        tasks.reconcile()
    assert time.monotonic() - begun < 60

    with mlflow:
        assert tasks.register("down", gated)["version"] == "2"
        assert tasks.register("down", gated)["version"] == "2"
        assert tasks.reconcile()["champion"] == "1"
        registered = Registry().find("late", project.state().undecided[-1].run_key)
    assert registered is not None
    assert registered.version == "2"
    assert [entry.event for entry in project.entries()].count("proposed") == 2
    assert project.answering_version() == "1"
