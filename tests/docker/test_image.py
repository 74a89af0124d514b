from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.running import STEPS
from tests.docker.cluster import ROOT, Cluster, python_pod

ASKED_INSIDE = """
import ast, importlib, json, os, pathlib
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.running import STEPS

def fails(act):
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def imported(file):
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module

root = pathlib.Path.cwd()
names = {name for file in (root / "include").rglob("*.py") for name in imported(file)}
account = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
pathlib.Path("/dev/termination-log").write_text(json.dumps({
    "user": os.getuid(),
    "code": {step: code_hash(step) for step in STEPS},
    "missing": {name: why for name in sorted(names) if (why := fails(lambda: importlib.import_module(name)))},
    "without bytecode": [str(file) for file in (root / "include").rglob("*.py")
                         if not list(file.parent.glob(f"__pycache__/{file.stem}.*.pyc"))],
    "token": account.exists(),
    "writes to": [folder for folder in ("/", "/opt/perennial", "/home", "/var/tmp", "/tmp")
                  if not fails(lambda: pathlib.Path(folder, "written").touch())],
}))
"""
IMAGE = "registry.example.com/perennial-trainer:1"


@pytest.fixture(scope="module")
def inside(cluster: Cluster, image: str) -> dict[str, Any]:
    """What a container of the image finds, in a pod like a step's."""
    pod = python_pod(image, ASKED_INSIDE)
    del pod["spec"]["containers"][0]["envFrom"]
    code, said = cluster.run(pod)
    assert code == 0, said
    found: dict[str, Any] = json.loads(said)
    return found


def test_the_code_of_every_step_is_the_same_inside_and_outside(inside: dict[str, Any]) -> None:
    assert inside["code"] == {step: code_hash(step) for step in STEPS}


def test_whatever_the_library_imports_is_there(inside: dict[str, Any]) -> None:
    assert inside["missing"] == {}


def test_no_step_begins_by_compiling_the_library(inside: dict[str, Any]) -> None:
    assert inside["without bytecode"] == []


def test_a_step_is_nobody_special(inside: dict[str, Any]) -> None:
    assert inside["user"] == 10001


def test_a_step_writes_to_its_scratch_folder_alone(inside: dict[str, Any]) -> None:
    assert inside["writes to"] == ["/tmp"]


def test_a_step_has_no_token_for_the_cluster(inside: dict[str, Any]) -> None:
    assert inside["token"] is False


@pytest.mark.parametrize("image", ["trainer", "server"])
def test_the_images_have_the_versions_of_the_lock_and_no_airflow(image: str) -> None:
    lock, inside = _pins(ROOT / "requirements.txt"), _pins(ROOT / f"docker/{image}/requirements.txt")
    assert inside < lock
    assert not {pin for pin in inside if pin.startswith("apache-airflow")}


def test_make_image_builds_with_the_first_builder_that_answers(tmp_path: Path) -> None:
    _builder(tmp_path / "docker", "exit 1")
    _builder(tmp_path / "podman", 'echo "podman $*"')
    made = _make_image(tmp_path)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-2:] == [
        f"podman build --tag {IMAGE} --file docker/trainer/Dockerfile .",
        "podman build --tag perennial-server:latest --file docker/server/Dockerfile .",
    ]


def test_without_a_builder_make_image_says_what_to_install(tmp_path: Path) -> None:
    for name in ("docker", "podman", "buildah"):
        _builder(tmp_path / name, "exit 1")
    made = _make_image(tmp_path)
    assert made.returncode != 0
    assert "start docker, or install podman or buildah" in made.stderr


def _pins(file: Path) -> set[str]:
    return {line for line in file.read_text().splitlines() if "==" in line}


def _builder(file: Path, does: str) -> None:
    file.write_text(f"#!/bin/sh\n{does}\n")
    file.chmod(0o755)


def _make_image(builders: Path) -> subprocess.CompletedProcess[str]:
    path = f"{builders}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    return subprocess.run(
        ["make", "--no-print-directory", "image", f"IMAGE={IMAGE}"],
        cwd=ROOT,
        env={"PATH": path},
        capture_output=True,
        text=True,
    )
