"""Airflow in a folder of its own, without a database: operators run by their `execute`."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-of-tests-"))  # before any import of it
