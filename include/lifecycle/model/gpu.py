"""Which GPUs does a training use, and how busy are they? NVIDIA's management library (NVML) knows."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Self

import pynvml

from include.lifecycle.errors import Rejected
from include.lifecycle.spec.value import Value

_EVERY = 0.2
"""Seconds between two looks; NVML itself averages over at least a sixth of a second."""


class GpuUse(Value):
    """What a training used."""

    device: str
    """The GPU's name."""
    driver: str
    gpu_seconds: float
    """GPUs times seconds."""
    busy: float
    """Share of the time in which a kernel ran, averaged over the GPUs."""


class GpuWatch:
    """Looks at the visible GPUs while its block runs.

    Raises Rejected when there is none: nothing is trained on the CPU that was meant for a GPU.
    """

    def __init__(self) -> None:
        self._looks: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="gpu-watch", daemon=True)

    def __enter__(self) -> Self:
        self._gpus = _visible_gpus()
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._seconds = time.monotonic() - self._started

    @property
    def use(self) -> GpuUse:
        """What was used, once the block has ended."""
        return GpuUse(
            device=pynvml.nvmlDeviceGetName(self._gpus[0]),
            driver=pynvml.nvmlSystemGetDriverVersion(),
            gpu_seconds=round(self._seconds * len(self._gpus), 3),
            busy=round(sum(self._looks) / max(1, len(self._looks)), 4),
        )

    def _look(self) -> None:
        while not self._ended.wait(_EVERY):
            rates = [pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu for gpu in self._gpus]
            self._looks.append(sum(rates) / len(rates) / 100)


def _visible_gpus() -> list[Any]:
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        gpus = [pynvml.nvmlDeviceGetHandleByIndex(place) for place in range(count)]
    except pynvml.NVMLError as error:
        raise Rejected(_none(str(error))) from None
    if not gpus:
        raise Rejected(_none("the driver shows none"))
    return gpus


def _none(reason: str) -> str:
    return (
        f"training: a GPU was asked for and none is visible ({reason}); nothing is trained on the CPU in its "
        "place: check compute.train (gpu, runtime_class, node_selector, image), or take gpu out"
    )
