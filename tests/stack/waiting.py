import time
from collections.abc import Callable

import psutil  # type: ignore[import-untyped]


def eventually(happens: Callable[[], bool]) -> None:
    """Wait until `happens` answers yes; fail after half a minute."""
    deadline = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def gone(process: psutil.Process) -> bool:
    """Return whether a process has ended, be it that nobody has collected its status yet."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
