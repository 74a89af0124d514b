"""``python -m include.lifecycle.steps <step> <run-key>`` runs a recorded call anywhere."""

from __future__ import annotations

import sys

from include.lifecycle.errors import LifecycleError, Transient
from include.lifecycle.steps.running import STEPS, run_step
from include.lifecycle.store.objects import open_store
from include.lifecycle.store.receipts import read_call


def main(arguments: list[str]) -> int:
    """Exit code 0 with a receipt, 1 for what a retry would not help, 75 for what it would."""
    if len(arguments) != 2 or arguments[0] not in STEPS:
        print(f"usage: python -m include.lifecycle.steps {{{','.join(STEPS)}}} RUN_KEY", file=sys.stderr)
        return 2
    try:
        store = open_store()
        receipt, _ = run_step(read_call(arguments[1], store), store)
    except LifecycleError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 75 if isinstance(error, Transient) else 1
    print(receipt.run_key)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
