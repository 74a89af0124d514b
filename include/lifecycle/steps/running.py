"""Runs a step's call, or adopts the receipt that proves it was run."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from include.lifecycle.errors import LifecycleError, Rejected, Transient
from include.lifecycle.steps.code import code_hash, git_commit
from include.lifecycle.steps.metering import Meter
from include.lifecycle.steps.together import needs_more_processes, run_together, workers_of
from include.lifecycle.store.checkpoints import StoredCheckpoints, remove_checkpoints
from include.lifecycle.store.connections import Connections, environment_connection
from include.lifecycle.store.objects import Output, Store, is_full
from include.lifecycle.store.receipts import (
    Call,
    Receipt,
    find_receipt,
    read_receipt,
    write_call,
    write_receipt,
)
from include.lifecycle.store.scratch import scratch_folder

STEPS = (
    "extract",
    "validate",
    "publish",
    "train",
    "trial",
    "evaluate",
    "register",
    "measure",
    "score",
    "reproduce",
)


@dataclass
class Termination:
    """Whether this process was told to end, and whether the step at work ends it by itself, soon."""

    told: bool = False
    awaited: bool = False

    @contextmanager
    def awaiting(self) -> Iterator[None]:
        """Work that asks now and then whether it was `told`, and then ends in good order."""
        self.awaited = True
        try:
            yield
        finally:
            self.awaited = False


@dataclass
class Work:
    """What a step is given: its call, the store, a scratch folder; and what it gives back."""

    call: Call
    store: Store
    folder: Path
    connections: Connections = environment_connection
    termination: Termination = field(default_factory=Termination)
    checkpoints: StoredCheckpoints | None = None
    """Set by a step that can go on where another process was stopped; removed after the receipt."""
    until_receipt: ExitStack = field(default_factory=ExitStack)
    """What a step enters here lasts until the receipt is written."""
    leads: bool = True
    """Whether this process writes the receipt; otherwise it helps one that does."""
    outputs: dict[str, Output] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def run_key(self) -> str:
        """Under which what is half-done is kept."""
        return self.call.run_key

    def keep(self, name: str, content: bytes | Path) -> Output:
        """Store an output under a name of the receipt, where this process writes that."""
        if not self.leads:
            return Output.of(content)
        kept = self.store.keep_file(content) if isinstance(content, Path) else self.store.keep(content)
        self.outputs[name] = kept
        return kept


def run_step(
    call: Call,
    store: Store,
    connections: Connections = environment_connection,
    termination: Termination | None = None,
) -> tuple[Receipt, bool]:
    """Run a call unless its valid receipt is there; returns the receipt and whether it was adopted.

    `connections` gives the credentials that a source asks for by name; `termination` tells a step
    that the process is to end, for those who listen.
    Raises Rejected when this library is not the code that the call names.
    """
    # As it reads back from the store: a step never sees an order of keys that the run key does not tell.
    call = Call.model_validate_json(call.canonical)
    if (receipt := find_receipt(call.run_key, store)) is not None:
        return receipt, True
    if call.code != code_hash(call.step):
        raise Rejected(
            f"{call.step}: this code is not the code of the call {call.run_key[:12]}; "
            "the image is older or newer than the call: deploy the same one everywhere"
        )
    write_call(call, store)
    if needs_more_processes(call):
        run_together(call, store)
        return read_receipt(call.run_key, store), False
    return _run(call, store, connections, termination or Termination())


def _run(
    call: Call, store: Store, connections: Connections, termination: Termination
) -> tuple[Receipt, bool]:
    """Run a call in this process; adopted is the receipt of a worker that another one leads."""
    started, meter = datetime.now(UTC), Meter()
    with ExitStack() as until_receipt:
        with _scratch_folder(call.step) as folder:
            work = Work(call, store, folder, connections, termination, until_receipt=until_receipt)
            _step(call.step)(work)
        receipt = Receipt(
            call=call,
            outputs=work.outputs,
            counts=work.counts,
            results=work.results,
            started=started,
            commit=git_commit(),
            attempt=meter.attempt(work.results.get("gpu", {}).get("gpu_seconds", 0), workers_of(call)),
        )
        receipt = write_receipt(receipt, store) if work.leads else receipt
    if not work.leads:
        return read_receipt(call.run_key, store), True
    if work.checkpoints is not None:
        with suppress(LifecycleError):  # the step is done; what is left is the janitor's
            remove_checkpoints(call.run_key, store)
    return receipt, False


@contextmanager
def _scratch_folder(step: str) -> Iterator[Path]:
    """A folder for one run; raises Transient when it is full, or the memory that the profile allows."""
    try:
        with scratch_folder(step) as folder:
            yield folder
    except duckdb.OutOfMemoryException as error:
        raise Transient(
            f"{step}: the profile's memory and the space in {tempfile.gettempdir()} are not enough: "
            "free space, or give the profile more memory, then clear this task"
        ) from error
    except (OSError, duckdb.IOException) as error:
        if not is_full(error):
            raise
        place = tempfile.gettempdir()
        raise Transient(f"{step}: no space left in {place}: free space, then clear this task") from error


def _step(name: str) -> Callable[[Work], None]:
    if name not in STEPS:
        raise Rejected(f"unknown step {name!r}; known: {', '.join(STEPS)}")
    run: Callable[[Work], None] = importlib.import_module(f"include.lifecycle.steps.{name}").run
    return run
