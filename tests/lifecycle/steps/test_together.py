"""A training by several workers: real processes, one store."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from include.lifecycle.errors import Rejected
from include.lifecycle.model.evaluation import metrics_of
from include.lifecycle.steps import train
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, Receipt, find_receipt, read_receipt, write_call
from tests.lifecycle import tiny
from tests.lifecycle.tiny import MODEL, Project, midnight

LONG = "max_trees: 100\n  segment: 10\n  checkpoint: 0s"


def plan(world: Project) -> Call:
    """The training by three workers."""
    world.edit("models/late.yaml", "training:", "compute: {train: {workers: 3}}\ntraining:")
    call = train.plan(world.catalog.model(MODEL), world.catalog, midnight(22), world.store)
    write_call(call, world.store)
    return call


@pytest.fixture
def long(world: Project) -> Call:
    """One that takes a few seconds, and draws."""
    world.edit("models/late.yaml", "max_trees: 30", LONG)
    world.edit("models/late.yaml", "min_trees: 5", "min_trees: 100")
    world.edit("models/late.yaml", "max_depth: 3", "max_depth: 3, subsample: 0.5, colsample_bynode: 0.5")
    return plan(world)


def gate_of(receipt: Receipt, world: Project) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(world.store.read(receipt.outputs["gate"])))


def auc_of(gate: pd.DataFrame) -> float:
    return metrics_of(gate["_label"].to_numpy(), gate["score"].to_numpy())["auc"]


def test_three_workers_learn_as_well_as_one(world: Project, trained: Receipt) -> None:
    receipt, _ = run_step(plan(world), world.store)
    alone, together = gate_of(trained, world), gate_of(receipt, world)
    columns = ["_key", "_event_time", "_label"]
    pd.testing.assert_frame_equal(alone[columns], together[columns])
    assert auc_of(together) == pytest.approx(auc_of(alone), abs=0.001)
    assert receipt.counts == trained.counts
    assert receipt.outputs["reference"] == trained.outputs["reference"]
    own = {"trees": 0, "compiled": None}  # other trees, so the gate looks at others
    assert {**receipt.results, **own} == {**trained.results, **own}
    assert receipt.results["compiled"]["passed"]
    assert world.store.list("checkpoints") == []
    assert receipt.attempt is not None
    used = receipt.attempt.usage
    assert used.memory_gib_seconds / used.seconds > 0.6  # one of them needs half of that


class Parent:
    """A process that runs a call, and the workers that it starts."""

    def __init__(self, call: Call) -> None:
        command = [sys.executable, "-m", "include.lifecycle.steps", "train", call.run_key]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def worker(self, rank: int) -> int:
        """The process id of the worker of a rank."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        told = f"JOB_COMPLETION_INDEX={rank}"
        (found,) = [pid for pid in children if told in Path(f"/proc/{pid}/environ").read_text().split("\0")]
        return int(found)

    def wait_until(self, there: Callable[[], bool]) -> None:
        """Wait for something, as long as the process lives."""
        deadline = time.monotonic() + 240
        while not there():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> tuple[int, str]:
        """The exit code and what it said."""
        _, said = self.process.communicate(timeout=240)
        return self.process.returncode, said


def test_workers_that_were_killed_and_terminated_end_as_unbroken_ones(world: Project, long: Call) -> None:
    def newest(fit: str) -> int:
        files = (world.root / "store/checkpoints" / long.run_key).glob(f"{fit}-??????")
        return max((int(file.name.removeprefix(f"{fit}-")) for file in files), default=-1)

    shutil.copytree(world.root / "store", world.root / "unbroken")
    unbroken, _ = run_step(long, Store(str(world.root / "unbroken")))

    killed = Parent(long)
    killed.wait_until(lambda: newest("gate") >= 2)
    os.kill(killed.worker(1), signal.SIGKILL)
    before = time.monotonic()
    code, said = killed.end()
    assert time.monotonic() - before < 20
    assert code == 75
    assert said.startswith("Transient: train: worker 1 ended by signal 9; another try goes on")

    terminated = Parent(long)
    terminated.wait_until(lambda: newest("final") >= 2)
    os.kill(terminated.worker(2), signal.SIGTERM)
    code, said = terminated.end()
    assert code == 75
    assert "Transient: terminated: will go on from tree" in said
    assert find_receipt(long.run_key, world.store) is None

    assert Parent(long).end() == (0, "")
    assert read_receipt(long.run_key, world.store).outputs == unbroken.outputs
    assert world.store.list("checkpoints") == []


def test_what_one_worker_refuses_is_refused(world: Project) -> None:
    (world.specs / "models/late.py").write_bytes(tiny.FEATURES + b"\nraise ValueError('no such column')\n")
    with pytest.raises(Rejected, match=r"^late.py: mend it: ValueError: no such column$"):
        run_step(plan(world), world.store)
