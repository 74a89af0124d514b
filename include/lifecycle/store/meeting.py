"""Where do the workers of a run find each other? The one that leads leaves its address in the store.

It lies beside the run's checkpoints and goes with them. A name in the cluster's DNS would need a Service
for each run, and still say for a while where a worker was before it was started again.
"""

from __future__ import annotations

from include.lifecycle.spec.value import Value, canonical_json
from include.lifecycle.store.objects import Store

RANK = "JOB_COMPLETION_INDEX"
"""So Kubernetes tells the pods of an Indexed Job which they are, and so do we elsewhere."""
ADDRESS = "PERENNIAL_ADDRESS"
"""The environment's name for the address at which the other workers reach this one."""


class Address(Value):
    """Where the worker that leads is."""

    host: str
    tracker: int
    """The port of XGBoost's tracker."""
    lifeline: int
    """The port at which the others show that they live."""


def leave_address(run_key: str, address: Address, store: Store) -> None:
    """Say where the worker that leads is; a later one takes the place of an earlier one."""
    store.replace(_path(run_key), canonical_json(address.model_dump()))


def read_address(run_key: str, store: Store) -> Address | None:
    """The newest address, though nobody may listen there any more; None when there was none yet."""
    content = store.get(_path(run_key))
    return None if content is None else Address.model_validate_json(content)


def _path(run_key: str) -> str:
    return f"checkpoints/{run_key}/tracker"
