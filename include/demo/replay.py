"""Replays the flights of 2013 through the running stack, by Airflow's own backfills, schedules and
asset events."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from include.demo import feed, traffic
from include.demo.airflow_api import AirflowApi, Seen, unseen
from include.demo.specs import careless_specs
from include.demo.story import tell
from include.lifecycle.release.fold import fold
from include.lifecycle.release.state import ModelState, Proposal
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store

MODEL = "flight_delay"
FIRST_DAY, FIRST_LIVE_DAY = date(2013, 1, 1), date(2013, 3, 1)
LAST_DAY = date(2013, 12, 30)
DAGS = {
    "flights.ingest",
    "weather.ingest",
    *(f"{MODEL}.{verb}" for verb in ("train", "release", "monitor")),
}


@dataclass(frozen=True)
class Replay:
    """A replay against one stack."""

    airflow: AirflowApi
    server: str
    store: Store
    landing: Store
    """Where source files arrive."""
    say: Callable[[str], None]
    seen: Seen = unseen
    """Told how many runs of the long backfill have ended."""

    def history(self, first: date = FIRST_DAY, until: date = FIRST_LIVE_DAY) -> None:
        """Backfill everything before the first live day, then train and release for the first time."""
        last = until - timedelta(days=1)
        self.say(f"files of {first} to {last} arrive")
        feed.deliver(self.landing, first, last)
        for dataset in ("flights", "weather"):
            self.airflow.unpause(f"{dataset}.ingest")
        self.say("backfill of weather.ingest and flights.ingest")
        with ThreadPoolExecutor() as both:
            weather = both.submit(self.airflow.backfill, "weather.ingest", first.replace(day=1), last)
            runs = self.airflow.backfill("flights.ingest", first, last, self.seen)
            weather.result()
        self.say(f"{runs} days ingested; first training, by the nightly schedule")
        self.train_and_release({f"{MODEL}.train", f"{MODEL}.release", f"{MODEL}.monitor"})

    def train_and_release(self, unpause: set[str] | None = None) -> None:
        """Wait for a training that Airflow starts, and for the release that it wakes."""
        train, release = f"{MODEL}.train", f"{MODEL}.release"
        known = {dag: self._known(dag) for dag in (train, release)}
        for dag in sorted(unpause or set()):
            self.airflow.unpause(dag)
        run = self.airflow.wait_for_run(train, known[train])
        states = self.airflow.task_states(train, run["dag_run_id"])
        if states["register"] == "success":
            self.airflow.wait_for_run(release, known[release])
        champion = self.state().champion
        self.say(f"champion: version {champion.version}" if champion else "no champion")

    def live(self, day: date) -> bool:
        """One day: traffic, the day's files, ingest, monitoring; True when it led to a new champion."""
        trainings, releases = self._known(f"{MODEL}.train"), self._known(f"{MODEL}.release")
        champion = self.state().champion
        rows = traffic.send(self.server, MODEL, day)
        feed.deliver_flights(self.landing, day)
        feed.deliver_weather(self.landing, day)
        with ThreadPoolExecutor() as both:
            weather = both.submit(
                self.airflow.backfill, "weather.ingest", day.replace(day=1), day.replace(day=1)
            )
            self.airflow.backfill("flights.ingest", day, day)
            weather.result()
        self.airflow.backfill(f"{MODEL}.monitor", day, day)
        state = self.state()
        window = state.windows[-1]
        self.say(f"{day}: {rows} predictions, window {'bad: ' if window.bad else 'good: '}{window.why}")
        asked = state.retrain is not None or _midnight(day + timedelta(days=1)) in {
            training.as_of for training in state.trainings
        }
        return asked and self._retrained(day, champion, trainings, releases)

    def careless(self, specs: Path, day: date) -> None:
        """A version that learned another label takes the way of any other, while users ask about a day."""
        trainings, releases = self._known(f"{MODEL}.train"), self._known(f"{MODEL}.release")
        self.say("a colleague changes what late means in the model's YAML, and trains a version")
        with careless_specs(specs, MODEL):
            self.airflow.send("POST", f"/dags/{MODEL}.train/dagRuns", {"logical_date": None})
            run = self.airflow.wait_for_run(f"{MODEL}.train", trainings)
        self._released(day, run, releases)
        last = tell(MODEL, self.store)[-1]
        self.say(f"version {last.version} {last.event}: {last.why}")

    def next_day(self) -> date:
        """The first day that was not ingested yet."""
        from include.lifecycle.data.publishing import published_table

        names = published_table("flights", self.store).partitions()
        return date.fromisoformat(max(names)) + timedelta(days=1) if names else FIRST_DAY

    def state(self) -> ModelState:
        """What the ledger says now."""
        return fold(Ledger(self.store, MODEL).entries())

    def _retrained(self, day: date, before: Proposal | None, trainings: set[str], releases: set[str]) -> bool:
        """Wait for the training that drift woke, and its release; True for a new champion."""
        run = self.airflow.wait_for_run(f"{MODEL}.train", trainings)
        self._released(day + timedelta(days=1), run, releases)
        champion = self.state().champion
        self.say(f"retrained; champion: version {champion.version if champion else '-'}")
        return champion != before

    def _released(self, day: date, training: dict[str, Any], releases: set[str]) -> None:
        """Wait for the release that a training woke; it compares versions on users' requests of a day."""
        states = self.airflow.task_states(f"{MODEL}.train", training["dag_run_id"])
        if states["register"] == "success":
            self.say("a version is proposed; users go on asking while it is released")
            with traffic.one_by_one(self.server, MODEL, day):
                self.airflow.wait_for_run(f"{MODEL}.release", releases, patience=900)

    def _known(self, dag_id: str) -> set[str]:
        return {run["dag_run_id"] for run in self.airflow.runs(dag_id)}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
