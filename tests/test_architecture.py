"""Who may import whom, and what every file says of itself."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "include/lifecycle").rglob("*.py"))
OURS = [*LIBRARY, *sorted((ROOT / "plugins").rglob("*.py")), *sorted((ROOT / "dags").glob("*.py"))]
BARE = """
import importlib, pkgutil, sys
import include.lifecycle as library
for module in pkgutil.walk_packages(library.__path__, "include.lifecycle."):
    if not module.name.endswith("__main__") and not module.name.endswith("pyfunc_model"):
        importlib.import_module(module.name)
print([name for name in sys.modules if name.split(".")[0] in ("airflow", "mlops")])
"""


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_imports_point_one_way() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/plugins"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout


def test_the_library_runs_without_airflow() -> None:
    found = subprocess.run([sys.executable, "-c", BARE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("file", OURS, ids=_name)
def test_every_file_says_what_it_is_for(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_bytes()))


@pytest.mark.parametrize("file", OURS, ids=_name)
def test_everything_public_says_what_it_does(file: Path) -> None:
    public = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    tree = ast.parse(file.read_bytes())
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    mute = [
        node.name
        for body in bodies
        for node in body
        if isinstance(node, public) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert mute == []


@pytest.mark.parametrize("file", OURS, ids=_name)
def test_no_file_grows_into_a_drawer(file: Path) -> None:
    assert file.stem not in ("utils", "util", "common", "helpers", "misc")
    assert len(file.read_text().splitlines()) <= 300


def test_nothing_on_the_disk_is_unpickled() -> None:
    for file in LIBRARY:
        imported = {
            alias.name
            for node in ast.walk(ast.parse(file.read_bytes()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not imported & {"pickle", "joblib", "cloudpickle", "dill"}, file


def test_airflow_does_not_load_the_plugins_package_under_bare_names() -> None:
    """Without this file each module below plugins/ would replace the library of its name."""
    assert (ROOT / "plugins/.airflowignore").read_text().split() == ["mlops"]
