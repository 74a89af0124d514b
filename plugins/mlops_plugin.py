"""Registers with Airflow what it cannot find by itself: the pages, the links, the timetable."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin
from mlops.links import LINKS
from mlops.timetable import SpanTimetable
from mlops.views.outputs import app


class PerennialPlugin(AirflowPlugin):
    """Pages of steps under /perennial, links to them, and when DAGs of datasets run."""

    name = "perennial"
    fastapi_apps: list[Any] = [{"app": app, "url_prefix": "/perennial", "name": "Perennial"}]
    operator_extra_links: list[Any] = [link() for link in LINKS]
    timetables: list[Any] = [SpanTimetable]
