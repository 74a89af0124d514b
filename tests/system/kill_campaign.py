"""Kills the ingestion of partitions at random instants, and starts it again, until it is done.

`python -m tests.system.kill_campaign KILLS SEED` works on the project that the environment names. Two
runners ingest the same partition at once; each is a fork of this process, which has imported everything
and used none of it: so that a kill hits the work, not the imports. A reader looks on throughout. The last
line printed is the outcome as JSON.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import deltalake  # noqa: F401
import duckdb  # noqa: F401
import great_expectations as gx  # noqa: F401
import pandas as pd  # noqa: F401

from include.lifecycle.data.publishing import published_table
from include.lifecycle.errors import Transient
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import open_store
from tests.lifecycle.ingesting import ingest
from tests.system.deliveries import Row, deliver, delivery

PARTITIONS = tuple(f"2024-01-{day:02}" for day in range(1, 5))
STEPS = ("extract", "validate", "publish")
DONE = len(STEPS) + 1
PATIENCE = 120.0


def run_until_done(partition: str, enter: Callable[[int], None]) -> None:
    """Ingest a partition; what Airflow would retry is tried again.

    `enter` is told the number of the step that begins.
    """
    spec, store = open_catalog().dataset("trips"), open_store()
    while True:
        try:
            ingest(spec, partition, store, lambda step: enter(STEPS.index(step) + 1))
            return enter(DONE)
        except Transient:
            time.sleep(0.01)


@dataclass
class Runner:
    """A forked process that ingests one partition, and how far it is."""

    partition: str
    stage: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 1))
    pid: int = 0
    status: int | None = None

    def start(self) -> Runner:
        """Fork; the child never returns."""
        self.pid = forked(lambda: run_until_done(self.partition, self._enter))
        return self

    @property
    def ended(self) -> bool:
        """Whether the process is gone; raises when it failed of its own."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        if self.status is not None and os.WIFEXITED(self.status) and os.WEXITSTATUS(self.status):
            raise RuntimeError(f"a runner of {self.partition} failed")
        return self.status is not None

    def reaches(self, stage: int) -> bool:
        """Wait until a stage has begun; False when the process ended before."""
        ends = time.monotonic() + PATIENCE
        while self.stage[0] < stage and not self.ended:
            if time.monotonic() > ends:
                raise RuntimeError(f"{self.partition} does not get past stage {self.stage[0]}")
            time.sleep(0.0005)
        return not self.ended

    def kill(self) -> str | None:
        """End the process at once; returns the step that it was in, or None before the first and after
        the last."""
        stage = self.stage[0]
        os.kill(self.pid, signal.SIGKILL)
        _, self.status = os.waitpid(self.pid, 0)
        if os.WIFEXITED(self.status) or stage in (0, DONE):
            return None
        return STEPS[stage - 1]

    def _enter(self, stage: int) -> None:
        self.stage[0] = stage


def forked(work: Callable[[], object]) -> int:
    """Do some work in a fork of this process; returns its process id."""
    sys.stdout.flush()
    if (pid := os.fork()) != 0:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def watch(seed: int, revisions: mmap.mmap, stop: mmap.mmap, looks: mmap.mmap) -> None:
    """Read each version of the table; raises when a partition is not exactly one of its deliveries."""
    table, seen, there = published_table("trips", open_store()), -1, set[str]()
    while True:
        last_look = bool(stop[0])
        newest = table.version()
        for version in range(seen + 1, (-1 if newest is None else newest) + 1):
            found = _whole_partitions(table, version, seed, revisions)
            if not there <= found:
                raise AssertionError(f"version {version} lost {there - found}")
            there = found
            looks[0:4] = (int.from_bytes(looks[0:4], "big") + 1).to_bytes(4, "big")
            seen = version
        if last_look:
            return
        time.sleep(0.01)


def _whole_partitions(table: Table, version: int, seed: int, revisions: mmap.mmap) -> set[str]:
    """The partitions at a version, each of which is exactly one of its deliveries."""
    dataset = table.dataset(version)
    assert dataset is not None
    found: dict[str, list[Row]] = {}
    for row in dataset.to_table(columns=["trip_id", "at", "distance", "_partition"]).to_pylist():
        at = row["at"].strftime("%Y-%m-%dT%H:%M:%SZ")
        found.setdefault(row["_partition"], []).append((row["trip_id"], at, row["distance"]))
    for partition, there in found.items():
        known = range(revisions[PARTITIONS.index(partition)] + 1)
        whole = [delivery(seed, partition, number).published for number in known]
        if set(there) not in whole or len(there) != len(set(there)):
            raise AssertionError(f"version {version} shows a part of {partition}: {len(there)} rows")
    return set(found)


@dataclass
class Campaign:
    """Kills until there were enough."""

    kills: int
    seed: int
    hits: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    rounds: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    revisions: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, len(PARTITIONS)))

    def run(self) -> None:
        """Measure the steps, then deliver, ingest and kill."""
        self.draw = random.Random(self.seed)
        self.landing = Path(os.environ["PERENNIAL_LANDING"])
        stop, looks = mmap.mmap(-1, 1), mmap.mmap(-1, 4)
        for partition in PARTITIONS[:2]:
            self._measure(partition)
        reader = forked(lambda: watch(self.seed, self.revisions, stop, looks))
        while not self._is_enough:
            self._round(PARTITIONS[self.rounds % len(PARTITIONS)])
        stop[0] = 1
        _, status = os.waitpid(reader, 0)
        if status:
            raise RuntimeError("the reader saw half a partition")
        self.looks = int.from_bytes(looks[0:4], "big")

    @property
    def _is_enough(self) -> bool:
        """Enough kills, some of them in each step; a step that is never hit ends it as well."""
        if self.hits.total() < self.kills or self.rounds < len(PARTITIONS):
            return False
        return set(self.hits) == set(STEPS) or self.hits.total() > 3 * self.kills

    def _measure(self, partition: str) -> None:
        """How long each step takes with two runners at once; the last measure stands."""
        deliver(self.landing, partition, delivery(self.seed, partition, 0))
        first, second = Runner(partition).start(), Runner(partition).start()
        entered = []
        for stage in range(1, DONE + 1):
            first.reaches(stage)
            entered.append(time.monotonic())
        _both_end(first, second)
        self.seconds = {
            step: max(0.02, entered[number + 1] - entered[number]) for number, step in enumerate(STEPS)
        }

    def _round(self, partition: str) -> None:
        """A new delivery for a partition; its two runners are killed some times and end well."""
        index = PARTITIONS.index(partition)
        self.revisions[index] += 1
        deliver(self.landing, partition, delivery(self.seed, partition, self.revisions[index]))
        runners = [Runner(partition).start(), Runner(partition).start()]
        for _ in range(self.draw.randint(1, 4)):
            self._kill(runners, both=self.draw.random() < 0.4)
        _both_end(*runners)
        self.rounds += 1

    def _kill(self, runners: list[Runner], *, both: bool) -> None:
        """Kill one runner, or both, some time after a step began; start again what was killed."""
        (number,) = self.draw.choices(range(len(STEPS)), weights=[1, 3, 1])
        victims = [0, 1] if both else [self.draw.randrange(2)]
        delay = self.draw.uniform(0, self.seconds[STEPS[number]])
        if not runners[victims[0]].reaches(number + 1):
            self.missed += 1
            return
        time.sleep(delay)
        for victim in victims:
            runner = runners[victim]
            step = None if runner.ended else runner.kill()
            if step is None:
                self.missed += 1
            else:
                self.hits[step] += 1
            if runner.status is not None and os.WIFSIGNALED(runner.status):
                runners[victim] = Runner(runner.partition).start()


def _both_end(*runners: Runner) -> None:
    for runner in runners:
        runner.reaches(DONE + 1)


def main(kills: int, seed: int) -> None:
    """Run a campaign and print its outcome."""
    campaign = Campaign(kills, seed)
    campaign.run()
    outcome = {
        "seed": seed,
        "hits": dict(campaign.hits),
        "missed": campaign.missed,
        "rounds": campaign.rounds,
        "versions_read": campaign.looks,
        "seconds": {step: round(seconds, 3) for step, seconds in campaign.seconds.items()},
        "revisions": dict(zip(PARTITIONS, campaign.revisions[:], strict=True)),
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
