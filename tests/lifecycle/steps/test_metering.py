import os
import subprocess
import sys
import time

import pytest

from include.lifecycle.steps.metering import Meter
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.receipts import Receipt, find_receipt, receipt_path
from tests.lifecycle.tiny import Project

_BESIDE = 1.0
"""CPU-seconds that other threads of the tests' process, and children that end, may use meanwhile."""


def _work(seconds: float) -> None:
    ends = time.process_time() + seconds
    while time.process_time() < ends:
        pass


def test_a_meter_counts_what_the_process_did_since_it_was_made() -> None:
    _work(0.3 + _BESIDE)
    meter, began = Meter(), time.monotonic()
    _work(0.2)
    worked = time.monotonic() - began
    used = meter.attempt(gpu_seconds=1.5).usage
    assert 0.2 <= used.cpu_seconds < 0.3 + _BESIDE
    assert round(worked, 3) <= used.seconds < worked + 0.3
    assert 0.01 < used.memory_gib_seconds / used.seconds < 64
    assert used.gpu_seconds == 1.5


def test_children_count_once_they_have_ended() -> None:
    meter = Meter()
    work = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-S", "-c", work], check=True)
    assert meter.attempt().usage.cpu_seconds >= 0.3


def test_memory_is_the_peak_for_the_whole_time() -> None:
    program = (
        "import time; from include.lifecycle.steps.metering import Meter; meter = Meter(); "
        "held = b'x' * (300 << 20); del held; time.sleep(0.5); used = meter.attempt().usage; "
        "print(used.memory_gib_seconds / used.seconds)"
    )
    peak = float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout)
    assert 0.3 < peak < 0.6


def test_a_process_is_an_attempt_of_its_own_and_a_pod_the_one_that_its_uid_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = Meter().attempt(), Meter().attempt()
    assert first.id != second.id
    assert first.where == second.where == "process"
    monkeypatch.setenv("PERENNIAL_POD_UID", "8c1f")
    in_pod = Meter().attempt()
    assert (in_pod.id, in_pod.where) == ("8c1f", f"pod {os.uname().nodename}")


def test_workers_on_one_machine_count_each_and_a_pod_counts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter()
    _work(0.2)
    alone, three = (meter.attempt(gpu_seconds=2, workers=workers).usage for workers in (1, 3))
    assert three.cpu_seconds == pytest.approx(3 * alone.cpu_seconds, rel=0.1)
    assert three.memory_gib_seconds == pytest.approx(3 * alone.memory_gib_seconds, rel=0.1)
    assert (alone.gpu_seconds, three.gpu_seconds) == (2, 6)
    assert three.seconds < 2 * alone.seconds
    monkeypatch.setenv("PERENNIAL_POD_UID", "8c1f")
    assert meter.attempt(gpu_seconds=2, workers=3).usage.gpu_seconds == 2


def test_a_receipt_tells_what_the_process_that_wrote_it_used(world: Project, trained: Receipt) -> None:
    world.store.remove(receipt_path(trained.run_key))
    receipt, _ = run_step(trained.call, world.store)
    assert receipt.attempt is not None
    assert receipt.attempt.usage.cpu_seconds > 0
    took = (receipt.ended - receipt.started).total_seconds()
    assert receipt.attempt.usage.seconds == pytest.approx(took, abs=0.1)
    assert find_receipt(trained.run_key, world.store) == receipt
