"""What all tests share: Airflow finds the plugin; where skipping is forbidden, a skipped test fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ("tests.docker.fixtures",)

# Before any import of Airflow: it reads a DAG's timetable by the plugin.
os.environ.setdefault("AIRFLOW__CORE__PLUGINS_FOLDER", str(Path(__file__).resolve().parents[1] / "plugins"))
# Ten processes of each MLflow server that nobody here has work for.
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")


_SYSTEMS = ("tests/docker/", "tests/system/")
"""Tests that start whole systems: one of these at a time is enough for a machine."""
_NO_SYSTEMS = ("tests/docker/test_prometheus.py", "tests/system/test_kills.py")
"""They are there by their subject, and start neither Airflow nor pods."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Systems come first: they take longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(_SYSTEMS))


class _Scheduling(LoadScopeScheduling):
    """All systems are the work of one process; of the rest each file is."""

    def _split_scope(self, nodeid: str) -> str:
        is_system = nodeid.startswith(_SYSTEMS) and not nodeid.startswith(_NO_SYSTEMS)
        return "systems" if is_system else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """How tests are shared out."""
    return _Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """With PERENNIAL_NO_SKIP, as in continuous integration, nothing may be skipped unseen."""
    report = yield
    if report.skipped and os.environ.get("PERENNIAL_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though PERENNIAL_NO_SKIP is set: {report.longrepr}"
    return report
