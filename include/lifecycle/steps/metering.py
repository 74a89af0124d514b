"""What does this process use from now on?"""

from __future__ import annotations

import os
import resource
import socket
import time
from pathlib import Path
from uuid import uuid4

from include.lifecycle.store.usage import Attempt, Usage


class Meter:
    """Counts from its making on."""

    def __init__(self) -> None:
        self._began, self._cpu = time.monotonic(), _cpu_seconds()

    @property
    def seconds(self) -> float:
        """Since the meter was made."""
        return time.monotonic() - self._began

    def attempt(self, gpu_seconds: float = 0, workers: int = 1) -> Attempt:
        """This process as an attempt, so far; of a call that takes several `workers` on one machine, all of
        them, each counted as this one. In a pod each counts itself.

        CPU-seconds are those of the process and of its children that have ended. Memory counts for the whole
        time as the process's peak (resident set), which is that of its life: it is meant for a process
        that runs one step.
        """
        seconds = self.seconds
        peak_gib = peak_bytes() / (1 << 30)
        pod = os.environ.get("PERENNIAL_POD_UID")
        alike = 1 if pod else workers
        usage = Usage(
            seconds=round(seconds, 3),
            cpu_seconds=round(alike * (_cpu_seconds() - self._cpu), 3),
            memory_gib_seconds=round(alike * peak_gib * seconds, 3),
            gpu_seconds=round(alike * gpu_seconds, 3),
        )
        if pod:
            return Attempt(id=pod, where=f"pod {socket.gethostname()}", usage=usage)
        return Attempt(id=uuid4().hex, where="process", usage=usage)


def peak_bytes(process: int | str = "self") -> int:
    """The largest resident set that a process had so far."""
    # Not getrusage's: that one a process inherits from the one that started it.
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)
