"""What a step needs of the machine that it runs on; where that is, the profile says."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import AfterValidator, ByteSize, Field

from include.lifecycle.spec.quantities import Bytes, Duration
from include.lifecycle.spec.value import Value


class Toleration(Value):
    """A taint of nodes that the step's pod puts up with, as Kubernetes writes it."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Compute(Value):
    """What a step needs. In a pod all of it holds; in the task's own process `gpu` alone."""

    cpu: float = Field(default=1, gt=0)
    """Cores: what the pod is promised, and the number of threads."""
    memory: Bytes = ByteSize(4 << 30)
    """What the pod is promised and may use; a step that takes more is killed."""
    gpu: int = Field(default=0, ge=0)
    """GPUs (`nvidia.com/gpu`). With one XGBoost trains on it, and on nothing else."""
    workers: int = Field(default=1, ge=1)
    """Processes that train together, each on its share of the rows and with all of the above; in a cluster
    each is a pod."""
    image: str = "trainer"
    """The image's name in the profile."""
    node_selector: dict[str, str] = {}
    """Labels of the nodes that may run it."""
    tolerations: tuple[Toleration, ...] = ()
    runtime_class: str | None = None
    """The container runtime for the GPU, such as `nvidia`."""
    queue: str | None = None
    """The LocalQueue of Kueue that the pod waits in."""
    patience: Duration = timedelta(hours=1)
    """How long the pod may wait for a node, before the task gives up and tries again."""
    deadline: Duration = timedelta(hours=12)
    """How long the pod may run."""


def _only_training_is_shared(needs: dict[str, Compute]) -> dict[str, Compute]:
    for step, compute in needs.items():
        if step != "train" and compute.workers > 1:
            raise ValueError(
                f"{step}.workers: only `train` is done by several workers; give {step} more cpu or memory"
            )
    return needs


SharedTraining = AfterValidator(_only_training_is_shared)
"""Refuses several workers for any other step."""
