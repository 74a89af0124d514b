"""A wall clock of its own for the processes of one machine, which may go wrong while they run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("clock.c")
_NAME = "preloaded-clock.so"


class Clock:
    """The wall clock of the processes that were started with its environment."""

    def __init__(self, file: Path, library: Path) -> None:
        self._file = file
        self.seconds = 0
        """By which it is ahead of the true time."""
        self.environment = {"LD_PRELOAD": str(library), "PERENNIAL_CLOCK": str(file)}
        file.write_bytes(bytes(8))

    def set(self, seconds: int) -> None:
        """Let it be off by so many seconds from now on."""
        self.seconds = seconds
        with self._file.open("r+b") as opened:  # in place: processes look at this very file
            opened.write(seconds.to_bytes(8, "little", signed=True))


def clock_library(folder: Path) -> Path:
    """What processes preload; skips the test where there is no C compiler.

    (Debian's libfaketime 0.9.10 moves the monotonic clock, too, and then Python's locks wait for ever.)
    """
    if shutil.which("cc") is None:
        pytest.skip("cc: no C compiler, so no process can be given a wrong clock")
    library = folder / _NAME
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"], check=True)
    return library
