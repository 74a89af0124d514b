"""What all tests share: Airflow finds the plugin; where skipping is forbidden, a skipped test fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ("tests.docker.fixtures",)

# Before any import of Airflow: it reads a DAG's timetable by the plugin.
os.environ.setdefault("AIRFLOW__CORE__PLUGINS_FOLDER", str(Path(__file__).resolve().parents[1] / "plugins"))
# Ten processes of each MLflow server that nobody here has work for.
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")


_SYSTEMS = ("docker", "system")
"""Tests that start whole systems: one of these at a time is enough for a machine."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All systems, which take longest, are the work of the first process; of the rest each file is of one."""

    def folder(item: pytest.Item) -> str:
        return item.path.relative_to(Path(__file__).parent).parts[0]

    items.sort(key=lambda item: folder(item) not in _SYSTEMS)
    for item in items:
        group = "systems" if folder(item) in _SYSTEMS else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """With PERENNIAL_NO_SKIP, as in continuous integration, nothing may be skipped unseen."""
    report = yield
    if report.skipped and os.environ.get("PERENNIAL_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though PERENNIAL_NO_SKIP is set: {report.longrepr}"
    return report
