"""Run a group of components until one of them, or the runner that asked for them, ends.

`python -m include.stack.supervise GROUP` with GROUP as JSON: {"log": path, "commands": {name:
shell command}}. Its stdin is the lifeline: when the runner goes, however it goes, the pipe closes.
"""

import json
import os
import re
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
from honcho.manager import Manager
from honcho.printer import Printer


def main(group: str) -> int:
    """Return the exit status of the component that ended first."""
    spec = json.loads(group)
    log = Path(spec["log"])
    with log.open("w") as output:
        manager = Manager(Printer(output))
        for name, command in spec["commands"].items():
            manager.add_process(name, command)
        threading.Thread(target=_stop_with_the_runner, daemon=True).start()
        try:
            manager.loop()
        finally:
            end_sessions(log)
    return int(manager.returncode or 0)


def end_sessions(log: Path) -> None:
    """Kill what is left of the components that `log` says were started.

    Airflow gives each task a process group of its own, which a signal to the component's group
    does not reach. The session is what all of them share.
    """
    leaders = {int(pid) for pid in re.findall(r"started \(pid=(\d+)\)", log.read_text())}
    while left := [process for process in psutil.process_iter() if _session(process) in leaders]:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.05)


def _session(process: psutil.Process) -> int | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return os.getsid(process.pid)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None


def _stop_with_the_runner() -> None:
    # Not sys.stdin: a lock held by this thread would be copied into the forks of the main one.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
