"""Hash of the code that a step really uses: its module, what that imports of this library, the lock."""

from __future__ import annotations

import ast
import os
import subprocess
from functools import cache
from pathlib import Path

from include.lifecycle.spec.value import canonical_json, sha256

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "requirements.txt"
_LIBRARY = "include.lifecycle"


@cache
def code_hash(step: str) -> str:
    """sha256 over the step's module, the library modules it reaches, and requirements.txt."""
    return sha256(canonical_json({**code_files(step), LOCK.name: sha256(LOCK.read_bytes())}))


@cache
def code_files(step: str) -> dict[str, str]:
    """sha256 of each file of the library that a step uses, by its path in the project."""
    files = sorted(map(_file, _reached(f"{_LIBRARY}.steps.{step}")))
    return {file.relative_to(ROOT).as_posix(): sha256(file.read_bytes()) for file in files}


@cache
def git_commit() -> str | None:
    """The commit the project is at, where there is one; a pod, whose image has no history, is told it."""
    if told := os.environ.get("PERENNIAL_COMMIT"):
        return told
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _reached(start: str) -> set[str]:
    reached, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += _imports(module)
    return reached


def _imports(module: str) -> list[str]:
    """The library modules that a module imports, anywhere in its source."""
    found = []
    for node in ast.walk(ast.parse(_file(module).read_bytes())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_LIBRARY):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in names if _file(name).is_file()] or [str(node.module)]
    return [name for name in found if _file(name).is_file()]


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
