"""`python -m tests.system.restarting COMMAND...` runs a command again whenever it ends, as a node runs a
container again: with none of the processes that the last one left behind. It lasts until it is ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress

import psutil

from include.stack.components import airflow
from include.stack.processes import Component

_PAUSE = 1.0


def restarting_airflow() -> list[Component]:
    """Airflow's components, each run again when it dies."""
    return [
        Component(name=each.name, command=[sys.executable, "-m", "tests.system.restarting", *each.command])
        for each in airflow()
    ]


def end_what_is_left() -> None:
    """Kill all processes of this session but this one."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if process.pid != os.getpid() and os.getsid(process.pid) == os.getsid(0):
                process.kill()


if __name__ == "__main__":
    while True:
        subprocess.run(sys.argv[1:])
        end_what_is_left()
        time.sleep(_PAUSE)
