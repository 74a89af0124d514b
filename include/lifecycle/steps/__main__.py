"""``python -m include.lifecycle.steps <step> <run-key>`` runs a recorded call anywhere.

Without arguments it is the call whose run key PERENNIAL_CALL names: so a pod is told.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from include.lifecycle.errors import LifecycleError, Transient
from include.lifecycle.steps.running import STEPS, Termination, run_step
from include.lifecycle.store.objects import open_store
from include.lifecycle.store.receipts import read_call

_TERMINATION_LOG = Path("/dev/termination-log")
_TERMINATION_LOG_SIZE = 2000


class _Terminated(BaseException):
    """SIGTERM while no step awaits it; no Exception, so that nobody on the way takes it for theirs."""


def main(arguments: list[str], termination: Termination | None = None) -> int:
    """Exit code 0 with a receipt, 1 for what a retry would not help, 75 for what it would."""
    told = os.environ.get("PERENNIAL_CALL")
    if len(arguments) == 2 and arguments[0] in STEPS:
        run_key = arguments[1]
    elif told and not arguments:
        run_key = told
    else:
        print(f"usage: python -m include.lifecycle.steps {{{','.join(STEPS)}}} RUN_KEY", file=sys.stderr)
        return 2
    try:
        store = open_store()
        receipt, _ = run_step(read_call(run_key, store), store, termination=termination)
    except LifecycleError as error:
        _say(f"{type(error).__name__}: {error}")
        return error.exit_code
    except _Terminated:
        _say("terminated: a retry begins this step again, or goes on from its checkpoint")
        return Transient.exit_code
    print(receipt.run_key)
    return 0


def _say(last_words: str) -> None:
    """To people, and to Kubernetes, which keeps a pod's last words when its log is gone."""
    print(last_words, file=sys.stderr)
    if _TERMINATION_LOG.is_file():
        _TERMINATION_LOG.write_text(last_words[:_TERMINATION_LOG_SIZE], encoding="utf-8")


def _listen() -> Termination:
    """What SIGTERM changes from now on; a container's first process would not hear it otherwise."""
    termination = Termination()

    def hear(number: int, frame: FrameType | None) -> None:
        termination.told = True
        if not termination.awaited:
            raise _Terminated

    signal.signal(signal.SIGTERM, hear)
    return termination


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], _listen()))
