"""What did an attempt at a step use? CPU, memory and GPU by time, as they are paid for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from include.lifecycle.spec.value import Value

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Usage(Value):
    """Resources times the time for which they were used."""

    seconds: Amount = 0
    """From beginning to end."""
    cpu_seconds: Amount = 0
    """Cores times seconds."""
    memory_gib_seconds: Amount = 0
    """Memory in GiB (2^30 bytes) times seconds."""
    gpu_seconds: Amount = 0
    """GPUs times seconds."""

    def __add__(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields})


class Attempt(Value):
    """One process or pod that worked on a call, whether or not it came to a receipt."""

    id: str
    """A pod's uid; random for a process that is in none."""
    where: str
    """`process`, or the pod's name, for people."""
    usage: Usage
