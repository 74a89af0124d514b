"""Is a model that retrains on drift as good as one that retrains by the calendar, with fewer trainings?

`python -m tests.benchmarks.replay` replays March to December 2013 through the library's own steps,
decisions and ledger, without Airflow: every flight is predicted by the version that was champion on
its day. Beside it, the same training step at fixed times, without gates.

A training as of a midnight reads the year's finished tables. That is the same as reading those of
the day: a partition is published once, `read_rows` takes rows whose label had matured at `as_of`, and a
join only reaches back in time. All rows lie in one file, since to open 366 of them each day takes longer
than the rest.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pandas as pd

from include.demo import feed, traffic
from include.lifecycle.data.point_in_time import KEY, LABEL, read_labels
from include.lifecycle.data.publishing import published_table
from include.lifecycle.model.evaluation import Evaluation
from include.lifecycle.model.gates import judge
from include.lifecycle.model.packaging import fetch_package
from include.lifecycle.model.predictor import Predictor
from include.lifecycle.monitor.performance import prediction_log, read_predictions
from include.lifecycle.release.decisions import Actor, end_training, propose, record
from include.lifecycle.release.document import Release
from include.lifecycle.release.fold import fold
from include.lifecycle.release.state import ModelState, Proposal
from include.lifecycle.spec.catalog import Catalog, open_catalog
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.steps import evaluate, measure, train
from include.lifecycle.steps.approving import approve_unasked
from include.lifecycle.steps.planning import plan_training
from include.lifecycle.steps.releasing import promote, stage_newest
from include.lifecycle.steps.running import run_step
from include.lifecycle.steps.watching import govern, plan_window
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt, read_call, read_receipt
from include.serving.logged_row import lines_of, read_lines
from include.serving.rows import check_rows, layout_of
from tests.benchmarks.figures import Figure, at_most, print_figures
from tests.benchmarks.year import MODEL, publish_year

FIRST, LAST = date(2013, 3, 1), date(2013, 12, 31)
DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
MAX_BRIER, MAX_TRAININGS = 0.1650, 12
SCHEDULES: dict[str, Callable[[date], bool]] = {
    "never": lambda day: day == FIRST,
    "monthly": lambda day: day.day == 1,
    "weekly": lambda day: (day - FIRST).days % 7 == 0,
}


@dataclass(frozen=True)
class Served:
    """How well a year was served: Brier score over all labelled flights, and what it took."""

    name: str
    brier: float
    trainings: int
    released: int
    by_month: dict[int, float]


@dataclass
class Year:
    """The year's tables, its requests and its labels."""

    store: Store
    catalog: Catalog = field(default_factory=open_catalog)

    @cached_property
    def model(self) -> ModelSpec:
        """The example's model."""
        return self.catalog.model(MODEL)

    @cached_property
    def labels(self) -> pd.Series:
        """Label of every flight that has one, by key."""
        rows = self.catalog.dataset(self.model.rows)
        version = published_table(rows.name, self.store).version()
        assert version is not None
        found = read_labels(
            self.model,
            rows,
            version,
            self.store,
            matured_after=midnight(FIRST),
            matured_by=midnight(LAST) + timedelta(days=7),
        )
        return found.set_index(KEY)[LABEL]

    @cached_property
    def requests(self) -> dict[date, dict[str, list[Any]]]:
        """What the users of the example ask the server about each day, as decoded from JSON."""
        return {day: _columns(traffic.requests_of(day)) for day in DAYS}

    def train(self, as_of: datetime) -> Receipt:
        """The training as of a moment; asked for again, its receipt is there."""
        return run_step(train.plan(self.model, self.catalog, as_of, self.store), self.store)[0]

    def predictor(self, trained: Receipt) -> Predictor:
        """The version of a training as a server loads it."""
        with TemporaryDirectory() as folder:
            return Predictor(fetch_package(trained, self.store, Path(folder)))

    def score(self, name: str, scores: pd.Series, trainings: int, released: int) -> Served:
        """Compare the served scores, by key, with the labels."""
        label = self.labels
        squares = (scores.reindex(label.index) - label).dropna() ** 2
        if len(squares) != self.labelled:
            raise AssertionError(f"{name}: {len(squares)} of {self.labelled} labelled flights were served")
        means = squares.groupby(squares.index.map(self._month)).mean()
        months = {month: float(means[month]) for month in range(FIRST.month, LAST.month + 1)}
        return Served(name, float(squares.mean()), trainings, released, months)

    @cached_property
    def labelled(self) -> int:
        """Labelled flights of March to December."""
        return int(self.labels.index.isin(list(self._month)).sum())

    @cached_property
    def _month(self) -> dict[str, int]:
        return {key: day.month for day in DAYS for key in feed.flights()[day.isoformat()]["flight_id"]}


def main() -> None:
    """Replay, and print what happened and the figures."""
    print_figures(run())


def run() -> list[Figure]:
    """Replay all four ways in a temporary store; returns the figures."""
    with TemporaryDirectory(prefix="perennial-replay-") as folder:
        year = Year(Store(f"{folder}/store"))
        publish_year(year.store, at_once=True)
        return compare(year)


def compare(year: Year) -> list[Figure]:
    """The governor beside fixed schedules, as a table; returns the governor's figures.

    Side by side, one process each: a training uses one thread.
    """
    started = time.perf_counter()
    fresh = multiprocessing.get_context("spawn")  # a fork would inherit locks of the store's threads
    with ProcessPoolExecutor(os.cpu_count(), mp_context=fresh) as pool:
        governing = pool.submit(governor, year.store.uri)
        fixed = list(pool.map(partial(schedule, year.store.uri), SCHEDULES))
        governed = governing.result()
    _print_table([governed, *fixed])
    print(f"{year.labelled:,} labelled flights; replayed in {time.perf_counter() - started:.0f} s")
    return [
        at_most("replay: Brier score under the governor", MAX_BRIER, governed.brier, ".5f"),
        at_most("replay: trainings under the governor", MAX_TRAININGS, governed.trainings, "d"),
    ]


def schedule(store: str, name: str) -> Served:
    """Train at fixed days and serve each version from its day on, without gates."""
    year, scores, trainings = Year(Store(store)), [], 0
    for day in DAYS:
        if SCHEDULES[name](day):
            predictor = year.predictor(year.train(midnight(day)))
            trainings += 1
        columns = year.requests[day]
        rows = check_rows(columns, layout_of(predictor))
        scores.append(pd.Series(predictor.predict(rows.typed), index=rows.keys))
    return year.score(name, pd.concat(scores), trainings, trainings)


def governor(store: str) -> Served:
    """Day by day as the DAGs run: window, governor, training, gates, release, then the day's flights."""
    year = Year(Store(store))
    print("trainings under the governor of flight_delay.yaml:")
    with _only_what_decides():
        for day in DAYS:
            _watch(year, midnight(day))
            _retrain_when_due(year, midnight(day))
            _serve(year, day)
    served = read_predictions(
        MODEL,
        prediction_log(MODEL, year.store).version(),
        year.store,
        start=midnight(FIRST),
        end=midnight(LAST + timedelta(days=1)),
    )
    trainings = _state(year).trainings
    promoted = sum(training.outcome == "promoted" for training in trainings)
    return year.score("governor", served.set_index("key")["score"], len(trainings), promoted)


@contextmanager
def _only_what_decides() -> Iterator[None]:
    """Leave out of each window the report, which people look at and no decision uses."""
    with patch.object(measure, "drift_report", lambda *_: b""):
        yield


def _watch(year: Year, end: datetime) -> None:
    """What `<model>.monitor` does."""
    if (call := plan_window(year.catalog, MODEL, year.store, slot=end)) is not None:
        measured, _ = run_step(call, year.store)
        govern(year.model, measured, year.store, _actor("monitor", end))


def _retrain_when_due(year: Year, as_of: datetime) -> None:
    """What `<model>.train` and `<model>.release` do, but for MLflow."""
    actor = _actor("train", as_of)
    planned = plan_training(MODEL, year.catalog, year.store, slot=as_of, asked_for=False, actor=actor)
    if planned.run_key is None:
        return
    started = time.perf_counter()
    trained, _ = run_step(read_call(planned.run_key, year.store), year.store)
    evaluated, _ = run_step(evaluate.plan(trained, _state(year).champion, year.store), year.store)
    verdict = judge(Evaluation.model_validate(evaluated.results["evaluation"]), year.model.gates)
    if verdict.passed:
        proposal = Proposal(
            version=str(len(_state(year).trainings)),
            run_key=trained.run_key,
            as_of=as_of,
            evaluation=evaluated.run_key,
        )
        record(Ledger(year.store, MODEL), propose(proposal, verdict.why), actor)
        staged = stage_newest(year.model, year.store, _actor("release", as_of), None)
        if staged is not None and staged.event == "staged":
            approve_unasked(year.model, staged.version, "local", year.store, _actor("release", as_of))
            promote(MODEL, staged.version, year.store, _actor("release", as_of))
    else:
        ended = end_training(trained.run_key, as_of, "rejected", verdict.why)
        record(Ledger(year.store, MODEL), ended, actor)
    _print_training(_state(year), trained, planned.why, verdict.why, time.perf_counter() - started)


def _serve(year: Year, day: date) -> None:
    """What the server answers and logs for the users' requests of a day."""
    champion = _state(year).champion
    assert champion is not None
    trained = read_receipt(champion.run_key, year.store)
    predictor = year.predictor(trained)
    rows = check_rows(year.requests[day], layout_of(predictor))
    release = Release(
        version=champion.version, run_key=champion.run_key, as_of=champion.as_of, package=trained.outputs
    )
    names = [f"{day}/{number}" for number in range(rows.count)]
    scores = predictor.predict(rows.typed).tolist()
    lines = lines_of(names, MODEL, release, "champion", rows, scores)
    with TemporaryDirectory() as folder:
        segment = Path(folder) / "segment"
        segment.write_bytes(lines)
        logged, _ = read_lines([segment])
    prediction_log(MODEL, year.store).append_once(logged, "replay", (day - FIRST).days + 1)


def midnight(day: date) -> datetime:
    """The start of a day in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _columns(rows: pd.DataFrame) -> dict[str, list[Any]]:
    """A day's requests as a server decodes them from JSON."""
    document = json.loads(rows.to_json(orient="split", index=False))
    return dict(zip(document["columns"], map(list, zip(*document["data"], strict=True)), strict=True))


def _state(year: Year) -> ModelState:
    return fold(Ledger(year.store, MODEL).entries())


def _actor(dag: str, as_of: datetime) -> Actor:
    return Actor(name=f"{MODEL}.{dag}", run_id=f"{MODEL}.{dag}/{as_of:%Y-%m-%d}")


def _print_training(state: ModelState, trained: Receipt, why: str, gates: str, seconds: float) -> None:
    training = state.trainings[-1]
    print(
        f"{len(state.trainings):3} {training.as_of:%Y-%m-%d} {training.outcome}: {why}\n"
        f"      {trained.results['trees']} trees, {trained.counts['rows']:,} rows, {seconds:.0f} s\n"
        f"      gates: {gates}",
        flush=True,
    )


def _print_table(found: list[Served]) -> None:
    months = sorted(found[0].by_month)
    print(f"\n{'retraining':12} {'trainings':>9} {'released':>8} {'Brier':>8}  by month, March to December")
    for item in found:
        parts = " ".join(f"{item.by_month[month]:.4f}" for month in months)
        print(f"{item.name:12} {item.trainings:9} {item.released:8} {item.brier:8.5f}  {parts}")


if __name__ == "__main__":
    main()
