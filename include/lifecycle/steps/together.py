"""Starts the workers of a training on this machine; in a cluster they are the pods of a Job."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO

from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.store.meeting import ADDRESS, RANK
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call

_ERROR = re.compile(r"^[A-Z]\w+: ", re.MULTILINE)
_GRACE = 30
"""Seconds that a worker has, once it is told to end, to save a checkpoint."""


def workers_of(call: Call) -> int:
    """How many processes do the call together."""
    return int(call.inputs.get("workers", 1))


def needs_more_processes(call: Call) -> bool:
    """Whether a call is for several workers, and this process is none of them."""
    return workers_of(call) > 1 and RANK not in os.environ


def run_together(call: Call, store: Store, told_to_end: Callable[[], bool]) -> None:
    """Run every worker of a call as a process, until all have ended.

    Raises Rejected or Transient, in the words of the worker that failed first.
    """
    with ExitStack() as leaving:
        said = [leaving.enter_context(tempfile.TemporaryFile("w+")) for _ in range(workers_of(call))]
        workers = [_start(call, store, rank, file) for rank, file in enumerate(said)]
        leaving.callback(_end, workers)
        while (running := [worker for worker in workers if worker.poll() is None]) and not told_to_end():
            if any(worker.returncode for worker in workers if worker not in running):
                break
            time.sleep(0.05)
        _end(workers)
        failed = [(worker, file) for worker, file in zip(workers, said, strict=True) if worker.returncode]
        for worker, file in sorted(failed, key=lambda pair: pair[0].returncode != Rejected.exit_code):
            file.seek(0)
            kind = Rejected if worker.returncode == Rejected.exit_code else Transient
            raise kind(_last_words(file.read()) or f"{call.step}: a worker was killed ({worker.returncode})")


def _start(call: Call, store: Store, rank: int, said: IO[str]) -> subprocess.Popen[str]:
    told = {
        "PERENNIAL_CALL": call.run_key,
        "PERENNIAL_STORE": store.uri,
        RANK: str(rank),
        ADDRESS: "127.0.0.1",
    }
    options = {key.upper(): value for key, value in store.options.items()}
    command = [sys.executable, "-m", "include.lifecycle.steps"]
    return subprocess.Popen(
        command, env={**os.environ, **options, **told}, stdout=said, stderr=said, text=True
    )


def _end(workers: list[subprocess.Popen[str]]) -> None:
    """End what still runs; each may save a checkpoint first."""
    deadline = time.monotonic() + _GRACE
    for worker in workers:
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _last_words(said: str) -> str:
    begins = [found.end() for found in _ERROR.finditer(said)]
    return said[begins[-1] :].strip() if begins else "\n".join(said.splitlines()[-5:])
