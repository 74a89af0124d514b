"""Fits one trial of a search and measures it on the stop span; a hopeless one ends early."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import optuna
import pandas as pd
from xgboost import Booster

from include.lifecycle.data.point_in_time import LABEL
from include.lifecycle.errors import Rejected
from include.lifecycle.model.checkpoints import Checkpoints
from include.lifecycle.model.evaluation import METRICS, Numbers
from include.lifecycle.model.study import Outcome, rungs_of
from include.lifecycle.model.training import build_pipeline, choose, split
from include.lifecycle.spec.metrics import Metric
from include.lifecycle.spec.model import Training

Measure = Callable[[bytes, int], float]
"""The metric on the stop span of a fit's state, by its first so many trees."""


def fit_trial(
    training: Training,
    rows: pd.DataFrame,
    features: pd.DataFrame,
    end: datetime,
    trial: optuna.Trial,
    metric: Metric,
    checkpoints: Checkpoints,
) -> Outcome:
    """Fit as a training does that chooses its number of trees, with a training's arguments.

    The trial is told of the metric after each segment, and the fit ends when it should be pruned.
    Raises Rejected when there is nothing to learn or to measure.
    """
    spans, label = split(training, rows, end), rows[LABEL]
    stop = label[spans["stop"]].to_numpy(dtype=float)
    if metric == "auc" and len(set(stop)) < 2:
        raise Rejected(
            "search.metric: auc needs both labels in the stop span; lengthen training.stop, or take brier"
        )
    reports = _Reports(trial, _measure(training, features, spans, stop, metric), training, checkpoints)
    try:
        chosen = choose(training, features, label, spans, reports)
    except optuna.TrialPruned:
        outcome = Outcome(state="pruned", trees=max(reports.intermediate))
    else:
        score = chosen.predict_proba(features[spans["stop"]])[:, 1].astype(float)
        trees = int(chosen.named_steps["classify"].best_iteration) + 1
        outcome = Outcome(state="complete", value=METRICS[metric](stop, score), trees=trees)
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
        segment, grown = self._training.segment, Booster(model_file=bytearray(state)).num_boosted_rounds()
        told = max(self.intermediate, default=0)
        for trees in range(told + segment, min(grown, self._training.max_trees - 1) + 1, segment):
            self.intermediate[trees] = self._measure(state, trees)
            self._trial.report(self.intermediate[trees], trees)
            if self._trial.should_prune():
                raise optuna.TrialPruned


def _measure(
    training: Training, features: pd.DataFrame, spans: dict[str, pd.Series], label: Numbers, metric: Metric
) -> Measure:
    pipeline = build_pipeline(training, features[spans["fit"]], training.max_trees)
    encode, classify = pipeline.named_steps["encode"], pipeline.named_steps["classify"]
    matrix = encode.fit(features[spans["fit"]]).transform(features[spans["stop"]])

    def measure(state: bytes, trees: int) -> float:
        classify.load_model(bytearray(state))
        score = classify.predict_proba(matrix, iteration_range=(0, trees))[:, 1]
        return METRICS[metric](label, score.astype(float))

    return measure
