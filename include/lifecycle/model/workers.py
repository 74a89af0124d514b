"""What do the other workers of a training know? They share rows, and grow the same trees together.

Each holds a share of the rows; XGBoost adds their histograms up in its collective. The worker of rank 0
leads: it runs the tracker, by which the others find each other, and alone writes what is kept.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
from xgboost import collective
from xgboost.core import XGBoostError
from xgboost.tracker import RabitTracker

from include.lifecycle.errors import Transient
from include.lifecycle.model.checkpoints import Checkpoints
from include.lifecycle.store.meeting import ADDRESS, RANK, leave_address, read_address
from include.lifecycle.store.objects import Store

_PATIENCE = timedelta(minutes=10)
"""How long a worker waits for the others before it ends, to be started again."""
_SILENCE = timedelta(minutes=5)
"""A worker that says nothing for so long is lost; one that was killed is noticed at once."""


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

    def vocabulary(self, features: pd.DataFrame) -> pd.DataFrame:
        """Features with every text that any worker's features have; enough to learn the categories of."""
        if self.size == 1:
            return features
        texts = {
            str(name): self.gather(features[[name]].drop_duplicates())[name].unique()
            for name in features
            if features[name].dtype == object
        }
        longest = max((len(found) for found in texts.values()), default=1)
        return pd.DataFrame({name: np.resize(texts.get(str(name), [0.0]), longest) for name in features})


class _Collective(Communicator):
    def all_gather(self, content: bytes) -> list[bytes]:
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

    All leave together: when the block of the one that leads has ended, and theirs. Raises Transient when
    they do not find each other, or one is lost.
    """
    if size == 1:
        yield Communicator()
        return
    rank, tracker = int(os.environ[RANK]), None
    try:
        if rank == 0:
            tracker = RabitTracker(n_workers=size, host_ip=os.environ[ADDRESS], sortby="task")
            tracker.start()
            leave_address(
                run_key, f"{os.environ[ADDRESS]} {tracker.worker_args()['dmlc_tracker_port']}", store
            )
        _join(rank, lambda: read_address(run_key, store))
        workers = _Collective(rank, size)
        yield workers
        workers.all_gather(b"")
    finally:
        # What is left behind half-way makes the interpreter crash at its end.
        with suppress(XGBoostError):
            collective.finalize()
        if tracker is not None:
            with suppress(XGBoostError):
                tracker.free()


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


def _join(rank: int, find: Callable[[], str | None]) -> None:
    """Enter the collective with the rank as name, by which the tracker orders the workers."""
    deadline = time.monotonic() + _PATIENCE.total_seconds()
    while True:
        try:
            if (address := find()) is not None:
                host, port = address.split()
                return collective.init(
                    dmlc_communicator="rabit",
                    dmlc_tracker_uri=host,
                    dmlc_tracker_port=int(port),
                    dmlc_task_id=f"{rank:06}",
                    dmlc_timeout=int(_SILENCE.total_seconds()),
                    dmlc_retry=1,
                )
        except XGBoostError as error:
            if time.monotonic() > deadline:
                raise Transient(f"training: worker {rank} did not find the others: {error}") from error
        if time.monotonic() > deadline:
            raise Transient(f"training: worker {rank} waited {_PATIENCE} for the first one to begin")
        time.sleep(0.2)


def _bytes(rows: pd.DataFrame) -> bytes:
    table, sink = pa.Table.from_pandas(rows, preserve_index=False), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _frame(content: bytes) -> pd.DataFrame:
    frame: pd.DataFrame = pa.ipc.open_stream(content).read_all().to_pandas()
    return frame
