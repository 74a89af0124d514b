"""Learns a version: chooses the number of trees on a later span, then refits on everything known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
from xgboost import Booster, DMatrix, XGBClassifier
from xgboost.core import XGBoostError

from include.lifecycle.data.point_in_time import EVENT_TIME, KEY, LABEL
from include.lifecycle.errors import Rejected
from include.lifecycle.model.checkpoints import Checkpoints, NoCheckpoints, fit_in_segments
from include.lifecycle.model.estimators import build_estimator, fit_estimator
from include.lifecycle.model.fitted import Fitted
from include.lifecycle.model.matrix import build_matrix, categories_of, encoded
from include.lifecycle.model.training_set import TrainingSet
from include.lifecycle.model.workers import ALONE, Communicator, SharedCheckpoints, losing_no_worker
from include.lifecycle.spec.model import Training, parameters_of
from include.lifecycle.spec.profile import open_profile

_PLACE = re.compile(r"^\[[\d:]+\] \S+: ")
"""Time and source file, with which XGBoost begins its messages."""


@dataclass(frozen=True)
class Spans:
    """Three later-and-later spans: `fit` until `stop_from`, `stop` until `gate_from`, `gate`."""

    stop_from: datetime
    gate_from: datetime

    @classmethod
    def before(cls, end: datetime, training: Training) -> Spans:
        """The spans of a training whose newest label belongs to an event before `end`."""
        gate_from = end - training.gate
        return cls(gate_from - training.stop, gate_from)


@dataclass(frozen=True)
class Trained:
    """A version before packaging."""

    fitted: Fitted
    """Learned from all rows."""
    trees: int | None
    """How many XGBoost grew; None of another estimator."""
    gate: pd.DataFrame
    """`_key`, `_event_time`, `_label` and `score` of the gate rows, by a fit that never saw them."""
    base_rate: float
    """Share of positive labels of all rows."""


def on_device(training: Training, device: str | None) -> Training:
    """The training on another device than the CPU, such as `cuda`."""
    if device is None:
        return training
    return training.model_copy(update={"parameters": {**training.parameters, "device": device}})


def train(
    training: Training,
    table: TrainingSet,
    end: datetime,
    checkpoints: Checkpoints | None = None,
    workers: Communicator = ALONE,
) -> Trained:
    """Fit, choose the number of XGBoost's trees, score the gate, refit on all rows known.

    `end` is the newest event time whose label could be known. What `checkpoints` have of the three
    fits is not grown again, and the version is the same. Of several `workers` each has its share of the
    rows; what is learned is the same for all. Raises Rejected when there is nothing to learn, Transient
    when a worker is lost, and what `checkpoints` raise.
    """
    spans = Spans.before(end, training)
    base_rate = require_rows(table, spans, training, workers)
    if not training.is_xgboost:
        unseen, final = (fit_in_one_go(training, table, until) for until in (spans.gate_from, None))
        return Trained(final, None, _scored(unseen, table, spans, workers), base_rate)
    checkpoints = SharedCheckpoints(checkpoints or NoCheckpoints(), workers)
    best = choose(training, table, spans, checkpoints, workers).best_iteration
    trees = max(best + 1, training.min_trees)
    with _people_can_read_errors():
        unseen = fit("gate", training, trees, table, checkpoints, spans.gate_from, workers=workers)
        final = fit("final", training, trees, table, checkpoints, workers=workers)
    return Trained(final, trees, _scored(unseen, table, spans, workers), base_rate)


def _scored(unseen: Fitted, table: TrainingSet, spans: Spans, workers: Communicator) -> pd.DataFrame:
    batches = (
        batch[[KEY, EVENT_TIME, LABEL]].assign(score=unseen.predict(batch))
        for batch in table.between(spans.gate_from, None)
    )
    scored = pd.concat(batches, ignore_index=True)
    if workers.size == 1:
        return scored
    return workers.gather(scored).sort_values([EVENT_TIME, KEY], ignore_index=True)


def choose(
    training: Training,
    table: TrainingSet,
    spans: Spans,
    checkpoints: Checkpoints,
    workers: Communicator = ALONE,
) -> Booster:
    """Trees grown from the `fit` span until the `stop` span sees no more gain; nothing here sees the gate."""
    trees, (until, stop_until) = training.max_trees, (spans.stop_from, spans.gate_from)
    with _people_can_read_errors():
        return fit(
            "choosing", training, trees, table, checkpoints, until, stop_until, workers=workers
        ).classifier


def fit(
    name: str,
    training: Training,
    trees: int,
    table: TrainingSet,
    checkpoints: Checkpoints,
    until: datetime | None = None,
    stop_until: datetime | None = None,
    *,
    workers: Communicator = ALONE,
) -> Fitted:
    """Learn from all rows, or those before a moment; with `stop_until` the rows from there until then
    may end it early."""
    parameters, threads = xgboost_parameters(training), open_profile().threads
    categories = workers.categories(categories_of(table, until))

    def build(ask: Callable[[], None]) -> tuple[DMatrix, DMatrix | None]:
        about: dict[str, Any] = {"threads": threads, "max_bin": parameters["max_bin"], "ask": ask}
        matrix = build_matrix(table, None, until, categories, **about)
        if stop_until is None:
            return matrix, None
        return matrix, build_matrix(table, until, stop_until, categories, ref=matrix, **about)

    state = fit_in_segments(name, training, trees, parameters, build, checkpoints)
    # Read from bytes, the trees need no GPU, though one grew them.
    return Fitted(Booster({"nthread": threads}, model_file=bytearray(state)), categories)


def fit_in_one_go(training: Training, table: TrainingSet, until: datetime | None) -> Fitted:
    """Learn from all rows, or those before a moment, by an estimator that needs no span to stop on."""
    categories = categories_of(table, until)
    (batch,) = table.between(None, until)
    classifier = build_estimator(training, len(table.texts), len(table.numbers))
    return Fitted(fit_estimator(classifier, training, encoded(batch, categories), batch[LABEL]), categories)


def xgboost_parameters(training: Training) -> dict[str, Any]:
    """What XGBClassifier would tell XGBoost; raises Rejected for what only XGBClassifier itself heeds."""
    threads = open_profile().threads
    found = XGBClassifier(tree_method="hist", n_jobs=threads, **parameters_of(training)).get_xgb_params()
    if others := sorted(training.parameters.keys() - found.keys()):
        raise Rejected(
            f"training.parameters: {', '.join(others)} cannot be set here; for the number of trees there are "
            "training.max_trees, min_trees and patience"
        )
    return dict(found)


def require_rows(
    table: TrainingSet, spans: Spans, training: Training, workers: Communicator = ALONE
) -> float:
    """The share of positive labels; raises Rejected where a span has not what it needs."""
    bounds = {
        "fit": (None, spans.stop_from),
        "stop": (spans.stop_from, spans.gate_from),
        "gate": (spans.gate_from, None),
    }
    labels = {name: _labels(table, *bound) for name, bound in bounds.items()}
    share = "" if workers.size == 1 else f" in the share of one of {workers.size} workers (take fewer)"
    for name, (rows, _) in labels.items():
        if not rows:
            raise Rejected(
                f"training: the {name} span has no rows with a matured label{share}; ingest more "
                f"partitions, or shorten {_lengths(training)}"
            )
    labels = {name: workers.total(*found) for name, found in labels.items()}
    for name in ("fit", "gate"):
        rows, positives = labels[name]
        if positives in (0, rows):
            raise Rejected(
                f"training: every label of the {name} span is {positives / rows:g}, and it needs "
                "both labels: check label.column and label.at_least, or lengthen training.gate"
            )
    return sum(positives for _, positives in labels.values()) / sum(rows for rows, _ in labels.values())


def _labels(table: TrainingSet, since: datetime | None, until: datetime | None) -> list[float]:
    """How many rows a span has, and how many of them are positive."""
    found = [(len(batch), batch[LABEL].sum()) for batch in table.between(since, until, [LABEL])]
    return [float(sum(rows for rows, _ in found)), float(sum(positives for _, positives in found))]


@contextmanager
def _people_can_read_errors() -> Iterator[None]:
    """Turn what XGBoost says into Rejected, and what it says of a lost worker into Transient."""
    try:
        with losing_no_worker():
            yield
    except (XGBoostError, TypeError, ValueError) as error:
        reason = _PLACE.sub("", str(error).splitlines()[0])
        raise Rejected(f"training: XGBoost refuses ({reason}); check training.parameters") from error


def _lengths(training: Training) -> str:
    gate = f"training.gate ({_days(training.gate)})"
    return f"training.stop ({_days(training.stop)}) and {gate}" if training.is_xgboost else gate


def _days(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 86_400:g}d"
