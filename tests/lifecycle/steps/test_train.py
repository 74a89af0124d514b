"""A training that is stopped, killed, run again: real processes, one store."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.steps import train
from include.lifecycle.steps.__main__ import main
from include.lifecycle.steps.running import Termination, run_step
from include.lifecycle.store.checkpoints import checkpointed_run_keys
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, Receipt, find_receipt, read_receipt, write_call
from tests.lifecycle import tiny
from tests.lifecycle.model.test_gpu import has_gpu
from tests.lifecycle.tiny import MODEL, Project, midnight

Start = Callable[..., subprocess.Popen[str]]
LONG = "max_trees: 2000\n  segment: 100\n  checkpoint: 0s"


def plan(world: Project) -> Call:
    call = train.plan(world.catalog.model(MODEL), world.catalog, midnight(22), world.store)
    write_call(call, world.store)
    return call


@pytest.fixture
def call(world: Project) -> Call:
    """A training that takes a few seconds, and draws."""
    world.edit("models/late.yaml", "max_trees: 30", LONG)
    world.edit("models/late.yaml", "min_trees: 5", "min_trees: 2000")
    world.edit("models/late.yaml", "max_depth: 3", "max_depth: 3, subsample: 0.5, colsample_bynode: 0.5")
    return plan(world)


@pytest.fixture
def start() -> Iterator[Start]:
    """Begins another process that runs a call; none outlives the test."""
    with ExitStack() as processes:

        def begin(call: Call, **env: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-m", "include.lifecycle.steps", "train", call.run_key],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | env,
            )
            processes.callback(process.kill)
            return process

        yield begin


def end(process: subprocess.Popen[str], how: signal.Signals | None = None) -> tuple[int, str]:
    """Its exit code and what it said, after a signal."""
    if how is not None:
        process.send_signal(how)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def wait_until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def checkpoints(world: Project, call: Call, fit: str) -> dict[int, Path]:
    """The segments of a fit that have a checkpoint, and the files."""
    files = (world.root / "store/checkpoints" / call.run_key).glob(f"{fit}-??????")
    return {int(file.name.removeprefix(f"{fit}-")): file for file in files}


def written(world: Project, call: Call, fit: str) -> dict[int, int]:
    """When each checkpoint of a fit was written."""
    return {segment: file.stat().st_mtime_ns for segment, file in checkpoints(world, call, fit).items()}


def newest(world: Project, call: Call, fit: str) -> int:
    """The newest segment of a fit that has a checkpoint; -1 when none has."""
    return max(checkpoints(world, call, fit), default=-1)


def without_times(receipt: Receipt) -> Receipt:
    """All that a receipt says, but when, where and with how much it was done."""
    return receipt.model_copy(update={"started": midnight(1), "ended": midnight(1), "attempt": None})


def unbroken(world: Project, call: Call) -> Receipt:
    """The receipt of the same call in another store, run by this process."""
    shutil.copytree(world.root / "store", world.root / "unbroken")
    return without_times(run_step(call, Store(str(world.root / "unbroken")))[0])


def test_a_training_that_was_killed_and_terminated_ends_as_an_unbroken_one(
    world: Project, call: Call, start: Start
) -> None:
    expected = unbroken(world, call)

    killed = start(call)
    wait_until(lambda: newest(world, call, "gate") >= 4, killed)
    assert end(killed, signal.SIGKILL)[0] == -signal.SIGKILL
    chosen = written(world, call, "choosing")
    assert chosen

    terminated = start(call)
    wait_until(lambda: newest(world, call, "final") >= 4, terminated)
    code, said = end(terminated, signal.SIGTERM)
    segment = newest(world, call, "final")
    assert code == 75
    assert said == f"Transient: terminated: will go on from tree {100 * (segment + 1)} of the final fit\n"
    assert written(world, call, "choosing") == chosen, "a fit that was finished is not done again"
    assert find_receipt(call.run_key, world.store) is None
    assert checkpointed_run_keys(world.store) == [call.run_key]
    gate = written(world, call, "gate")

    last = start(call)
    wait_until(lambda: newest(world, call, "final") > segment, last)
    assert written(world, call, "gate") == gate
    assert end(last) == (0, "")
    assert without_times(read_receipt(call.run_key, world.store)) == expected
    assert world.store.list("checkpoints") == []


def test_a_short_training_writes_no_checkpoint(world: Project, trained: Receipt) -> None:
    assert trained.call.spec["model"]["training"]["checkpoint"] == "5m"
    assert not (world.root / "store/checkpoints").exists()


def test_a_process_that_was_told_to_end_ends_after_the_first_round(world: Project, call: Call) -> None:
    told = Termination(told=True)
    with pytest.raises(Transient, match="terminated: will go on from tree 0 of the choosing fit"):
        run_step(call, world.store, termination=told)
    assert not told.awaited
    assert find_receipt(call.run_key, world.store) is None


def test_sigterm_outside_the_fits_ends_the_process_at_once_and_leaves_nothing(
    world: Project, tmp_path: Path, start: Start
) -> None:
    wait = b"\nimport os, pathlib, time\npathlib.Path(os.environ['REACHED']).touch()\ntime.sleep(100)\n"
    (world.specs / "models/late.py").write_bytes(tiny.FEATURES + wait)
    call, reached, scratch = plan(world), tmp_path / "reached", tmp_path / "scratch"
    scratch.mkdir()
    process = start(call, REACHED=str(reached), TMPDIR=str(scratch))
    wait_until(reached.exists, process)
    before = time.monotonic()
    code, said = end(process, signal.SIGTERM)
    assert time.monotonic() - before < 20
    assert (code, said) == (
        75,
        "terminated: a retry begins this step again, or goes on from its checkpoint\n",
    )
    assert find_receipt(call.run_key, world.store) is None
    assert list(scratch.iterdir()) == []


def test_sigterm_ends_the_fit_of_an_estimator_without_checkpoints_at_once(
    world: Project, tmp_path: Path, start: Start
) -> None:
    reached, forest = tmp_path / "reached", "{n_estimators: 100000, max_depth: 8}"
    tiny.learn_by(world, "sklearn.ensemble.RandomForestClassifier", forest)
    (world.specs / "models/late.py").write_bytes(
        tiny.FEATURES + b"\nimport os, pathlib\npathlib.Path(os.environ['REACHED']).touch()\n"
    )
    process = start(plan(world), REACHED=str(reached))
    wait_until(reached.exists, process)
    time.sleep(1)
    before = time.monotonic()
    assert end(process, signal.SIGTERM)[0] == 75
    assert time.monotonic() - before < 20


def test_whoever_calls_the_library_keeps_their_own_sigterm(world: Project) -> None:
    call, own = plan(world), signal.getsignal(signal.SIGTERM)
    assert main(["train", call.run_key]) == 0
    assert signal.getsignal(signal.SIGTERM) is own


def test_trees_are_compiled_into_the_version_with_the_verdict_on_them(trained: Receipt) -> None:
    compiled = trained.results["compiled"]
    assert compiled["passed"], compiled["reason"]
    assert compiled["largest"].keys() == {"held-out", "missing", "unseen", "border"}
    assert compiled["rows"] > trained.counts["gate_rows"]
    assert "model.onnx" in trained.outputs


def test_how_often_checkpoints_are_written_makes_no_other_model(world: Project, trained: Receipt) -> None:
    """It is part of the call, which is all that a step sees; but nobody retrains for it."""
    world.edit("models/late.yaml", "seed: 3", "seed: 3\n  checkpoint: 1m")
    call = plan(world)
    assert call.run_key != trained.run_key
    assert train.fingerprint(call) == train.fingerprint(trained.call)
    assert run_step(call, world.store)[0].outputs == trained.outputs


def test_a_training_that_asks_for_a_gpu_is_another_call_that_never_runs_on_the_cpu(world: Project) -> None:
    if has_gpu():
        pytest.skip("here is a GPU to train on")
    before = plan(world)
    world.edit("models/late.yaml", "training:", "compute: {train: {gpu: 1, memory: 16Gi}}\ntraining:")
    call = plan(world)
    assert call.inputs == {**before.inputs, "device": "cuda"}
    with pytest.raises(Rejected, match=r"late.yaml: training: a GPU was asked for and none is visible"):
        run_step(call, world.store)


def test_memory_and_cores_are_no_part_of_the_call(world: Project) -> None:
    before = plan(world)
    world.edit("models/late.yaml", "training:", "compute: {train: {cpu: 4, memory: 16Gi}}\ntraining:")
    assert plan(world).run_key == before.run_key
