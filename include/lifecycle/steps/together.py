"""Starts the workers of a training on this machine; in a cluster they are the pods of a Job."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import IO

from include.lifecycle.errors import LifecycleError, Rejected, Transient
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


def run_together(call: Call, store: Store) -> None:
    """Run every worker of a call as a process, until all have ended; one that fails ends the others.

    Raises Rejected or Transient, in the words of the worker that says most.
    """
    with ExitStack() as leaving:
        scratch = leaving.enter_context(tempfile.TemporaryDirectory(prefix="workers-"))
        said = [leaving.enter_context(tempfile.TemporaryFile("w+")) for _ in range(workers_of(call))]
        workers = [_start(call, store, rank, file, scratch) for rank, file in enumerate(said)]
        leaving.callback(_end, workers)
        while None in (codes := [worker.poll() for worker in workers]) and not any(codes):
            time.sleep(0.05)
        _end(workers)
        failed = [(rank, worker.returncode) for rank, worker in enumerate(workers) if worker.returncode]
        if failed:
            rank, code = min(failed, key=lambda item: (item[1] != Rejected.exit_code, item[1] == 75))
            raise _why(call.step, rank, code, said[rank])


def _start(call: Call, store: Store, rank: int, said: IO[str], scratch: str) -> subprocess.Popen[str]:
    told = {
        "PERENNIAL_CALL": call.run_key,
        "PERENNIAL_STORE": store.uri,
        RANK: str(rank),
        ADDRESS: "127.0.0.1",
        "TMPDIR": scratch,  # a worker that is killed leaves what it has there
    }
    options = {key.upper(): value for key, value in store.options.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "include.lifecycle.steps"],
        env={**os.environ, **options, **told},
        stdout=said,
        stderr=said,
        text=True,
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


def _why(step: str, rank: int, code: int, said: IO[str]) -> LifecycleError:
    said.seek(0)
    text = said.read()
    begins = [found.end() for found in _ERROR.finditer(text)]
    if code in (Rejected.exit_code, Transient.exit_code) and begins:
        return (Rejected if code == Rejected.exit_code else Transient)(text[begins[-1] :].strip())
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    said_last = " | ".join(text.splitlines()[-3:])
    return Transient(
        f"{step}: worker {rank} ended {how}; another try goes on from the last checkpoint ({said_last})"
    )
