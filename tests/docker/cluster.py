"""A namespace of its own on a real cluster, set up by the project's manifests; asked through kubectl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "docker/manifests"
_PATIENCE = 300
"""Seconds that a pod may take on a busy machine."""


class Refused(Exception):
    """What the cluster says when it does not do something."""


class Cluster:
    """One namespace of the cluster that KUBECONFIG names."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *arguments: str, given: Any = None) -> str:
        """What kubectl prints; `given` is the object that it reads from `-`. Raises Refused."""
        found = subprocess.run(
            ["kubectl", "--namespace", self.namespace, *arguments],
            input=json.dumps(given) if given is not None else None,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if found.returncode:
            raise Refused(found.stderr)
        return found.stdout

    def create(self, document: Any, *arguments: str) -> dict[str, Any]:
        """The object as the cluster made it."""
        given = self.kubectl("create", "--filename=-", "--output=json", *arguments, given=document)
        created: dict[str, Any] = json.loads(given)
        return created

    def share(self, secret: str, environment: dict[str, str]) -> None:
        """Make a Secret, or write it anew."""
        metadata = {"name": secret}
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": environment}
        self.kubectl("apply", "--filename=-", given=document)

    def run(self, pod: dict[str, Any], patience: float = _PATIENCE) -> tuple[int, str]:
        """Create a pod and wait until it ended; its exit code and its last words: what it wrote to
        /dev/termination-log, or else the end of its log, as long as its node keeps that."""
        name = self.create(pod)["metadata"]["name"]
        deadline = time.monotonic() + patience
        while True:
            status = {"phase": "unknown"}
            with suppress(Refused):  # as long as the API server is away
                status = json.loads(self.kubectl("get", "pod", name, "--output=json"))["status"]
            if status["phase"] in ("Succeeded", "Failed"):
                break
            assert time.monotonic() < deadline, f"{name} did not end in time: {status}"
            time.sleep(0.5)
        state = status["containerStatuses"][0]["state"]["terminated"]
        return state["exitCode"], state.get("message") or self.kubectl("logs", name)


@contextmanager
def deployed(namespace: str, folder: Path) -> Iterator[Cluster]:
    """The manifests in a namespace of that name, as long as it is needed; `folder` does not exist yet."""
    shutil.copytree(MANIFESTS, folder)
    file = folder / "kustomization.yaml"
    file.write_text(file.read_text().replace("namespace: perennial", f"namespace: {namespace}"))
    cluster = Cluster(namespace)
    try:
        cluster.kubectl("apply", "--kustomize", str(folder))
        yield cluster
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


def built_image(name: str = "trainer") -> str:
    """Build an image of what is here, and load it into the cluster; its tag.

    PERENNIAL_BUILD_IMAGE is the command that does both; it gets the tag, the context and the Dockerfile.
    PERENNIAL_TEST_IMAGE is the trainer's tag, for checkouts that share a cluster; others begin with it.
    """
    tag = os.environ.get("PERENNIAL_TEST_IMAGE", "perennial-trainer:test")
    if name != "trainer":
        tag = f"{tag}-{name}"
    command = [os.environ["PERENNIAL_BUILD_IMAGE"], tag, str(ROOT), str(ROOT / f"docker/{name}/Dockerfile")]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-5000:]
    return tag


def step_pod(image: str, run_key: str = "") -> dict[str, Any]:
    """The pod of the call with that run key."""
    pod: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("step_pod.yaml").read_text())
    container = pod["spec"]["containers"][0]
    container["image"] = image
    container["env"][0]["value"] = run_key
    return pod


def python_pod(image: str, source: str) -> dict[str, Any]:
    """The pod of a step that runs some Python instead of the step."""
    pod = step_pod(image)
    pod["spec"]["containers"][0]["command"] = ["python", "-c", source]
    return pod
