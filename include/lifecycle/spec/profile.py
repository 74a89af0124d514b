"""What a profile says: how much of the machine the steps may use."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from pydantic import ByteSize, Field

from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.spec.reading import read_spec
from include.lifecycle.spec.value import Value


class Profile(Value):
    """Where steps run: in the task's own process, with these limits."""

    threads: int = Field(default=1, ge=1)
    """Threads of one step; more than the idle cores makes XGBoost many times slower."""
    memory: ByteSize = ByteSize(4 << 30)
    """Memory of one step's scans; DuckDB spills to disk beyond it."""


def open_profile() -> Profile:
    """The profile that PERENNIAL_PROFILE names (default `local`); raises SpecError for a bad one."""
    name = os.environ.get("PERENNIAL_PROFILE") or "local"
    return _read_once(open_catalog().root / "profiles" / f"{name}.yaml")


@cache
def _read_once(path: Path) -> Profile:
    return read_spec(path, Profile)
