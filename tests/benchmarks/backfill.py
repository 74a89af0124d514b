"""How long does a backfill of a year take, and does each day cost the same?

`python -m tests.benchmarks backfill` starts a stack of its own in a temporary home, lets the flights of
2013 arrive, and backfills `flights.ingest` from Airflow's REST API, as its UI does. PERENNIAL_BACKFILL_DAYS
shortens the year.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from include.demo import feed
from include.demo.airflow_api import AirflowApi
from include.lifecycle.data.publishing import published_table
from include.lifecycle.store.objects import Store
from include.stack.home import Settings
from include.stack.stack import Stack, running_stack
from tests.benchmarks.figures import Figure, at_most, plain, print_figures

DAG = "flights.ingest"
FIRST = date(2013, 1, 1)
DAYS = int(os.environ.get("PERENNIAL_BACKFILL_DAYS") or 365)
MAX_SECONDS = 600.0
MAX_RATIO = 1.2
"""How much more the last quarter's days may cost than the second's; the first warms up."""


@dataclass
class Progress:
    """When each day of a backfill had ended, in seconds since it was asked for."""

    started: float = field(default_factory=time.monotonic)
    at: dict[int, float] = field(default_factory=dict)
    said: int = 0

    def __call__(self, done: int, total: int) -> None:
        """Note how many runs of how many have ended."""
        self.at.setdefault(done, time.monotonic() - self.started)
        if done * 10 // total > self.said:
            self.said = done * 10 // total
            print(f"  {done:4} of {total} days after {self.at[done]:6.1f} s", flush=True)

    def between(self, first: int, last: int) -> float:
        """Seconds a day from the first to the last of a span of days."""
        return (self._reached(last) - self._reached(first)) / (last - first)

    def _reached(self, done: int) -> float:
        return min(at for count, at in self.at.items() if count >= done)


def run() -> list[Figure]:
    """Backfill the year; compares its days with the goal, and its quarters with each other."""
    with TemporaryDirectory(prefix="perennial-backfill-") as home:
        return _in_stack(Settings.at(Path(home)), _backfill)


def _in_stack(settings: Settings, measure: Callable[[Stack], list[Figure]]) -> list[Figure]:
    caller = {name: value for name, value in os.environ.items() if not name.startswith("PERENNIAL_")}
    with running_stack(settings, print, caller) as stack:
        return measure(stack)


def _backfill(stack: Stack) -> list[Figure]:
    last = FIRST + timedelta(days=DAYS - 1)
    feed.deliver(Store(stack.settings.landing), FIRST, last)
    airflow = AirflowApi(stack.airflow_url, stack.token)
    airflow.wait_for_dags({DAG})
    airflow.unpause(DAG)
    progress = Progress()
    runs = airflow.backfill(DAG, FIRST, last, progress)
    seconds = time.monotonic() - progress.started
    table = published_table("flights", Store(stack.settings.store))
    assert len(table.partitions()) == runs == DAYS
    return _figures(seconds, progress)


def _figures(seconds: float, progress: Progress) -> list[Figure]:
    quarter = max(1, DAYS // 4)
    second = progress.between(quarter, 2 * quarter)
    fourth = progress.between(3 * quarter, DAYS)
    print(f"a day of the second quarter {second:.2f} s, of the last {fourth:.2f} s")
    return [
        at_most(f"backfill: {DAYS} days of flights", MAX_SECONDS * DAYS / 365, seconds, ".0f", " s"),
        at_most("backfill: last quarter's day, times the second's", MAX_RATIO, fourth / second, ".2f"),
        plain("backfill: a day", f"{seconds / DAYS:.2f} s"),
    ]


if __name__ == "__main__":
    print_figures(run())
