"""Fits one trial of a search and measures it on the stop span; a hopeless one ends early."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import optuna
from xgboost import Booster

from include.lifecycle.data.point_in_time import LABEL
from include.lifecycle.errors import Rejected
from include.lifecycle.model.checkpoints import Checkpoints
from include.lifecycle.model.evaluation import METRICS
from include.lifecycle.model.fitted import Fitted
from include.lifecycle.model.matrix import categories_of
from include.lifecycle.model.study import Outcome, rungs_of
from include.lifecycle.model.training import Spans, choose, require_rows
from include.lifecycle.model.training_set import TrainingSet
from include.lifecycle.spec.metrics import Metric
from include.lifecycle.spec.model import Training

Measure = Callable[[Booster, int], float]
"""The metric on the stop span, by the first so many trees of a fit."""


def fit_trial(
    training: Training,
    table: TrainingSet,
    end: datetime,
    trial: optuna.Trial,
    metric: Metric,
    checkpoints: Checkpoints,
) -> Outcome:
    """Fit as a training does that chooses its number of trees, with a training's arguments.

    The trial is told of the metric after each segment, and the fit ends when it should be pruned.
    Raises Rejected when there is nothing to learn or to measure.
    """
    spans = Spans.before(end, training)
    require_rows(table, spans, training)
    measure = _measure(table, spans, metric)
    reports = _Reports(trial, measure, training, checkpoints)
    try:
        chosen = choose(training, table, spans, reports)
    except optuna.TrialPruned:
        outcome = Outcome(state="pruned", trees=max(reports.intermediate))
    else:
        trees = chosen.best_iteration + 1
        outcome = Outcome(state="complete", value=measure(chosen, trees), trees=trees)
    return outcome.model_copy(update={"intermediate": reports.intermediate, "rungs": rungs_of(trial)})


class _Reports:
    """Checkpoints that tell the trial how it stands, in a fit that goes on those before as well."""

    def __init__(
        self, trial: optuna.Trial, measure: Measure, training: Training, checkpoints: Checkpoints
    ) -> None:
        self.intermediate: dict[int, float] = {}
        self._trial = trial
        self._measure = measure
        self._training = training
        self._checkpoints = checkpoints

    def load(self, fit: str) -> bytes | None:
        """The newest valid state of the fit."""
        state = self._checkpoints.load(fit)
        if state is not None:
            self._report(state)
        return state

    def save(self, fit: str, segment: int, state: bytes) -> None:
        """Take a state, and tell of it; raises TrialPruned when the trial should end."""
        self._checkpoints.save(fit, segment, state)
        self._report(state)

    def after_round(self, fit: str, trees: int) -> None:
        """Raises Transient when the process is told to end."""
        self._checkpoints.after_round(fit, trees)

    def _report(self, state: bytes) -> None:
        """Of each segment that the trial was not told of; the last tree of all is no time to prune."""
        booster, segment = Booster(model_file=bytearray(state)), self._training.segment
        grown = booster.num_boosted_rounds()
        told = max(self.intermediate, default=0)
        for trees in range(told + segment, min(grown, self._training.max_trees - 1) + 1, segment):
            self.intermediate[trees] = self._measure(booster, trees)
            self._trial.report(self.intermediate[trees], trees)
            if self._trial.should_prune():
                raise optuna.TrialPruned


def _measure(table: TrainingSet, spans: Spans, metric: Metric) -> Measure:
    """Raises Rejected for a metric that the labels of the stop span do not define."""
    categories = categories_of(table, spans.stop_from)
    batches = table.between(spans.stop_from, spans.gate_from)
    label = np.concatenate([batch[LABEL].to_numpy(dtype=float) for batch in batches])
    if metric == "auc" and len(set(label)) < 2:
        raise Rejected(
            "search.metric: auc needs both labels in the stop span; lengthen training.stop, or take brier"
        )

    def measure(booster: Booster, trees: int) -> float:
        fitted = Fitted(booster, categories)
        return METRICS[metric](label, np.concatenate([fitted.predict(batch, trees) for batch in batches]))

    return measure
