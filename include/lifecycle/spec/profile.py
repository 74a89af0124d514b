"""What a profile says: where the steps run, and how much of the machine they may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import ByteSize, Field, model_validator

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.spec.notify import AnyReceiver
from include.lifecycle.spec.quantities import Bytes, Duration
from include.lifecycle.spec.reading import read_spec
from include.lifecycle.spec.value import Value

_THREADS: ContextVar[int | None] = ContextVar("threads", default=None)


class ModelServer(Value):
    """The model server in the cluster: one Deployment, whose every pod answers for every model."""

    image: str = "perennial-server:latest"
    replicas: int = Field(default=3, ge=1)
    """Pods at least; with one alone, a node that is drained interrupts the service."""
    max_replicas: int = Field(default=6, ge=1)
    """Pods at most, when they are busy."""
    cpu: float = Field(default=1, gt=0)
    """Cores that a pod is promised; it may use idle ones too."""
    memory: Bytes = ByteSize(2 << 30)
    """What a pod is promised, and may not exceed."""
    busy: int = Field(default=70, ge=1, le=100)
    """Percent of the promised cores, used by the pods on average, above which there are more pods."""
    secrets: tuple[str, ...] = ("perennial-store", "perennial-server")
    """Secrets whose keys are the pods' environment: the store, and PERENNIAL_SERVER_KEYS."""
    claim: str | None = None
    """PersistentVolumeClaim (ReadWriteMany) for predictions that are not in the store yet; without one
    they are lost with the pod's node."""
    ports: tuple[int, ...] = (443, 6443)
    """Where the pods may connect to: the store's port and that of Kubernetes' API server."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas: {self.max_replicas} is less than replicas: {self.replicas}")
        return self


class Kubernetes(Value):
    """The cluster on which steps run as pods; `docker/manifests` sets it up."""

    namespace: str = "perennial"
    images: dict[str, str] = {"trainer": "perennial-trainer:latest"}
    """What the names in a spec's `compute.<step>.image` stand for."""
    service_account: str = "perennial-step"
    secrets: tuple[str, ...] = ("perennial-store",)
    """Secrets whose keys are the pod's environment: the store, and what else a step connects to."""
    connection: str = "kubernetes_default"
    """Airflow Connection of the cluster; where there is none, KUBECONFIG or the pod's own account."""
    priority_class: str | None = "perennial-training"
    startup: Duration = timedelta(minutes=10)
    """How long a pod that has its node may take to pull the image and start."""
    server: ModelServer | None = None
    """Where it is given, `perennial.deploy` deploys the model server, and releases reach it."""

    def image(self, name: str) -> str:
        """The image of that name; raises SpecError when the profile has none."""
        if name not in self.images:
            known = ", ".join(sorted(self.images))
            raise SpecError(f"compute: no image {name!r} in the profile's kubernetes.images ({known})")
        return self.images[name]


class Prices(Value):
    """What the machines cost, so that usage becomes money; 0 for what is not there or costs nothing."""

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    """By its three letters (ISO 4217), such as `EUR`."""
    cpu_hour: float = Field(ge=0, allow_inf_nan=False)
    """One core for an hour."""
    memory_gib_hour: float = Field(ge=0, allow_inf_nan=False)
    """One GiB of memory for an hour."""
    gpu_hour: float = Field(ge=0, allow_inf_nan=False)
    """One GPU for an hour."""


class Profile(Value):
    """Where steps run: in the task's own process with these limits, or as pods."""

    threads: int = Field(default=1, ge=1)
    """Threads of one step; more than the idle cores makes XGBoost many times slower."""
    memory: Bytes = ByteSize(4 << 30)
    """Memory of one step's scans; DuckDB spills to disk beyond it."""
    grace: Duration = Field(default=timedelta(days=1), ge=timedelta(hours=1))
    """How long `perennial.clean` leaves alone what nobody seems to need; longer than any step runs."""
    kubernetes: Kubernetes | None = None
    """Where it is given, steps run as pods, with the limits of their spec's `compute`."""
    prices: Prices | None = None
    """Without them only seconds are recorded, and no money."""
    notify: tuple[AnyReceiver, ...] = ()
    """Who is told when something needs a person."""


def open_profile() -> Profile:
    """The profile that PERENNIAL_PROFILE names (default `local`); raises SpecError for a bad one.

    PERENNIAL_THREADS and PERENNIAL_MEMORY (bytes) come before what it says: a pod is told its limits so.
    Inside `on_threads` that number comes before both.
    """
    profile = _read_once(open_catalog().root / "profiles" / f"{profile_name()}.yaml")
    told = {limit: os.environ.get(f"PERENNIAL_{limit.upper()}") for limit in ("threads", "memory")}
    limits = {limit: int(value) for limit, value in told.items() if value}
    count = _THREADS.get()
    return profile.model_copy(update=limits if count is None else {**limits, "threads": count})


def profile_name() -> str:
    """The profile that is set."""
    return os.environ.get("PERENNIAL_PROFILE") or "local"


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Whatever its block runs takes that many threads."""
    before = _THREADS.set(count)
    try:
        yield
    finally:
        _THREADS.reset(before)


@cache
def _read_once(path: Path) -> Profile:
    return read_spec(path, Profile)
