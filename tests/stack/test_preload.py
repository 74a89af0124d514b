import os
import subprocess
import sys
from pathlib import Path

import pytest

from include.stack.home import PROJECT_ROOT

PRELOAD = PROJECT_ROOT / "include/stack/preload"
REPORT = """
import sys
sys.argv = sys.argv[1:]
import airflow_local_settings, os, threading
names = {"mlflow", "evidently", "great_expectations", "xgboost", "kubernetes"}
print(*sorted(names & set(sys.modules)))
print(threading.active_count())
"""


def _loaded(component: str, *paths: Path, profile: str = "local") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT, "airflow", component],
        env={
            **os.environ,
            "PERENNIAL_PROFILE": profile,
            "PYTHONPATH": os.pathsep.join(
                map(str, [*paths, PROJECT_ROOT, PROJECT_ROOT / "plugins", PRELOAD])
            ),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return [*done.stdout.splitlines(), done.stderr]


def test_the_scheduler_loads_what_steps_use_and_starts_no_thread() -> None:
    modules, threads, _ = _loaded("scheduler")
    assert modules == "evidently great_expectations mlflow xgboost"
    assert threads == "1"


def test_where_steps_are_pods_the_scheduler_loads_kubernetes_client_instead() -> None:
    modules, threads, _ = _loaded("scheduler", profile="kubernetes")
    assert modules == "kubernetes mlflow xgboost"
    assert threads == "1"


@pytest.mark.parametrize("component", ["dag-processor", "api-server", "triggerer"])
def test_the_other_components_stay_light(component: str) -> None:
    assert _loaded(component)[0] == ""


def test_a_library_that_cannot_be_loaded_is_said_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "evidently.py").write_text("raise RuntimeError('broken')")
    modules, _, errors = _loaded("scheduler", tmp_path)
    assert modules == "great_expectations mlflow xgboost"
    assert "could not preload evidently" in errors
