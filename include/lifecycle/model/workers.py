"""What do the other workers of a training know? They share rows, and grow the same trees together.

Each holds a share of the rows; XGBoost adds their histograms up in its collective. The worker of rank 0
leads: it alone writes what is kept, and all sums go by it. XGBoost's other communicator, Rabit, connects
every two workers, by the addresses that it sees; behind an address that is translated between nodes they
never meet.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
from xgboost import collective
from xgboost.core import XGBoostError
from xgboost.federated import FederatedTracker

from include.lifecycle.errors import Transient
from include.lifecycle.model.checkpoints import Checkpoints
from include.lifecycle.model.lifelines import Lifelines, await_others, connect, listen
from include.lifecycle.model.matrix import Categories
from include.lifecycle.spec.value import canonical_json
from include.lifecycle.store.meeting import ADDRESS, RANK, Address, leave_address, read_address
from include.lifecycle.store.objects import Store

_PATIENCE = timedelta(minutes=10)
"""How long a worker waits for the others before it ends, to be started again."""


class Communicator:
    """One worker among `size`; by default it is alone, has all the rows and asks nobody."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        """Whether this is the worker that writes."""
        return self.rank == 0

    def all_gather(self, content: bytes) -> list[bytes]:
        """The bytes of every worker, in order of rank; raises Transient when one is lost."""
        return [content]

    def broadcast(self, content: bytes | None) -> bytes | None:
        """The bytes of the worker that leads; None where it has none."""
        return self.all_gather(content or b"" if self.leads else b"")[0] or None

    def total(self, *numbers: float) -> list[float]:
        """Each number, added up over the workers."""
        parts = self.all_gather(np.array(numbers, dtype=np.float64).tobytes())
        return [float(number) for number in np.sum([np.frombuffer(part) for part in parts], axis=0)]

    def gather(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of every worker, those of rank 0 first."""
        if self.size == 1:
            return rows
        return pd.concat([_frame(part) for part in self.all_gather(_bytes(rows))], ignore_index=True)

    def categories(self, own: Categories) -> Categories:
        """The categories that any worker knows, of the same features."""
        parts = [json.loads(part) for part in self.all_gather(canonical_json(list(own.items())))]
        known = [dict(part) for part in parts]
        return {
            name: None if mine is None else sorted({text for part in known for text in part[name] or ()})
            for name, mine in own.items()
        }


ALONE = Communicator()
"""The worker of a training that is not shared."""


class _Collective(Communicator):
    def all_gather(self, content: bytes) -> list[bytes]:
        """By sums alone: XGBoost's own broadcast would pickle."""
        lengths = np.zeros(self.size, dtype=np.uint64)
        lengths[self.rank] = len(content)
        with losing_no_worker():
            lengths = collective.allreduce(lengths, collective.Op.SUM)
            ends = [int(end) for end in np.cumsum(lengths)]
            begins = [0, *ends[:-1]]
            whole = np.zeros(max(1, ends[-1]), dtype=np.uint8)
            whole[begins[self.rank] : ends[self.rank]] = np.frombuffer(content, dtype=np.uint8)
            whole = collective.allreduce(whole, collective.Op.BITWISE_OR)
        return [whole[begin:end].tobytes() for begin, end in zip(begins, ends, strict=True)]


class SharedCheckpoints:
    """The checkpoints of a training by several workers: one keeps them, all go on from the same."""

    def __init__(self, kept: Checkpoints, workers: Communicator) -> None:
        self._kept = kept
        self._workers = workers

    def load(self, fit: str) -> bytes | None:
        """What the worker that leads finds."""
        return self._workers.broadcast(self._kept.load(fit) if self._workers.leads else None)

    def save(self, fit: str, segment: int, state: bytes) -> None:
        """Only the worker that leads keeps it: the trees of all are the same."""
        if self._workers.leads:
            self._kept.save(fit, segment, state)

    def after_round(self, fit: str, trees: int) -> None:
        """Ends this worker if it must."""
        self._kept.after_round(fit, trees)


@contextmanager
def joined(run_key: str, store: Store, size: int) -> Iterator[Communicator]:
    """This process as one of the workers of a run, who find each other by the store.

    All leave together, when the block of each has ended. Raises Transient when they do not find each other,
    or one is lost; where XGBoost waits for the lost one, the process ends as if it had.
    """
    if size == 1:
        yield ALONE
        return
    rank = int(os.environ[RANK])
    address, lifelines = _lead(run_key, store, size) if rank == 0 else _follow(run_key, store, rank)
    try:
        collective.init(
            dmlc_communicator="federated",
            federated_server_address=f"{address.host}:{address.tracker}",
            federated_world_size=size,
            federated_rank=rank,
        )
        yield _Collective(rank, size)
        lifelines.leave(leads=rank == 0)
    finally:
        lifelines.forget()
        with suppress(XGBoostError):  # the interpreter would crash at its end
            collective.finalize()


@contextmanager
def losing_no_worker() -> Iterator[None]:
    """Turn what XGBoost says when another worker is gone into Transient."""
    try:
        yield
    except XGBoostError as error:
        if "/collective/" not in str(error).splitlines()[0]:
            raise
        reason = str(error).partition("\nStack trace")[0].strip().splitlines()[-1].lstrip("- ")
        raise Transient(f"training: another worker was lost ({reason}); all go on together") from error


def _lead(run_key: str, store: Store, size: int) -> tuple[Address, Lifelines]:
    with listen() as free:
        port = free.getsockname()[1]
    tracker = FederatedTracker(n_workers=size, port=port, secure=False)
    tracker.start()
    del tracker.handle  # freeing it would wait for ever; it goes with the process
    listener = listen()
    address = Address(host=os.environ[ADDRESS], tracker=port, lifeline=listener.getsockname()[1])
    leave_address(run_key, address, store)
    return address, await_others(listener, size - 1, _PATIENCE.total_seconds())


def _follow(run_key: str, store: Store, rank: int) -> tuple[Address, Lifelines]:
    return connect(lambda: read_address(run_key, store), rank, _PATIENCE.total_seconds())


def _bytes(rows: pd.DataFrame) -> bytes:
    table, sink = pa.Table.from_pandas(rows, preserve_index=False), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _frame(content: bytes) -> pd.DataFrame:
    frame: pd.DataFrame = pa.ipc.open_stream(content).read_all().to_pandas()
    return frame
