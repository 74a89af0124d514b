"""Fits trees segment by segment, from checkpoint to checkpoint, so that a stopped fit can go on.

Between segments the trees go through their bytes, in unbroken runs too: it makes no difference
whether the same process grows the next segment. Within a segment XGBoost's random numbers cannot be
kept, so a fit goes on from the end of a segment, and each segment draws with a seed of its own.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import xgboost
from xgboost import Booster, DMatrix
from xgboost.callback import EarlyStopping, TrainingCallback

from include.lifecycle.errors import Rejected
from include.lifecycle.spec.model import Training
from include.lifecycle.spec.value import canonical_json, sha256

_UNUSED = re.compile(r"Parameters: \{ (.*) \} are not used")


class Checkpoints(Protocol):
    """Where a training keeps the state of its fits: their trees, as bytes."""

    def load(self, fit: str) -> bytes | None:
        """The newest valid state of a fit; None when there is none."""

    def save(self, fit: str, segment: int, state: bytes) -> None:
        """Take the state of a fit at the end of a segment."""

    def after_round(self, fit: str, trees: int) -> None:
        """Called after each round, and while rows are read; raises Transient to stop: the fit will go on
        from `trees` trees."""


class NoCheckpoints:
    """Keeps nothing: a training that is stopped begins again."""

    def load(self, fit: str) -> bytes | None:
        """Always None."""
        return None

    def save(self, fit: str, segment: int, state: bytes) -> None:
        """Keeps nothing."""

    def after_round(self, fit: str, trees: int) -> None:
        """Never stops."""


def fit_in_segments(
    fit: str,
    training: Training,
    trees: int,
    parameters: Mapping[str, Any],
    build: Callable[[Callable[[], None]], tuple[DMatrix, DMatrix | None]],
    checkpoints: Checkpoints,
) -> bytes:
    """The trees of a fit, as bytes, grown from its newest checkpoint on.

    `build` makes the matrix, and that of a later span if the fit ends where the span sees no more gain;
    it is not asked where nothing is to be grown, and calls what it is given now and then if it takes long:
    that raises Transient to stop. The trees are those of an unbroken fit, wherever it was stopped. Raises
    Rejected for a parameter that XGBoost does not know.
    """
    state = checkpoints.load(fit)
    if state is not None and _is_complete(state, trees, training.patience):
        return state
    there = 0 if state is None else _booster(state).num_boosted_rounds()
    matrix, stop = build(lambda: checkpoints.after_round(fit, there))
    while state is None or not _is_complete(state, trees, training.patience):
        grown = 0 if state is None else _booster(state).num_boosted_rounds()
        segment = grown // training.segment
        callbacks: list[TrainingCallback] = [_AfterRound(checkpoints, fit, grown)]
        if stop is not None:
            callbacks.append(_EarlyStopping(rounds=training.patience))
        with _known_parameters():
            booster = xgboost.train(
                {**parameters, "random_state": seed_of(training, segment)},
                matrix,
                min(training.segment, trees - grown),
                evals=[] if stop is None else [(stop, "stop")],
                xgb_model=None if state is None else bytearray(state),
                callbacks=callbacks,
                verbose_eval=False,
            )
        state = bytes(booster.save_raw("ubj"))
        checkpoints.save(fit, segment, state)
    return state


def seed_of(training: Training, segment: int) -> int:
    """The seed with which a segment draws; the first draws with the training's own."""
    if segment == 0:
        return training.seed
    return int(sha256(canonical_json([training.seed, segment]))[:7], 16)


def _booster(state: bytes) -> Booster:
    return Booster(model_file=bytearray(state))


def _is_complete(state: bytes, trees: int, patience: int) -> bool:
    """Whether a fit has all its trees, or ended early."""
    booster = _booster(state)
    rounds, best = booster.num_boosted_rounds(), booster.attr("best_iteration")
    return rounds >= trees or (best is not None and rounds - 1 - int(best) >= patience)


class _EarlyStopping(EarlyStopping):
    """Goes on counting where an earlier segment ended; its best round rides in the trees' own bytes."""

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Whether to stop."""
        if not self.stopping_history and (best := model.attr("best_iteration")) is not None:
            span = list(evals_log)[-1]
            metric = list(evals_log[span])[-1]
            self.stopping_history = {span: {metric: [model.best_score]}}
            self.best_scores = {span: {metric: [model.best_score]}}
            self.current_rounds = self.starting_round - 1 - int(best)
        return bool(super().after_iteration(model, epoch, evals_log))


class _AfterRound(TrainingCallback):
    """Asks after each round whether the process is to end."""

    def __init__(self, checkpoints: Checkpoints, fit: str, trees: int) -> None:
        self.checkpoints = checkpoints
        self.fit = fit
        self.trees = trees

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Never stops the fit, though asking may raise."""
        self.checkpoints.after_round(self.fit, self.trees)
        return False


@contextmanager
def _known_parameters() -> Iterator[None]:
    """Raise Rejected for a parameter that XGBoost does not know, of which it only warns."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    for warning in said:
        if (unknown := _UNUSED.search(str(warning.message))) is not None:
            raise Rejected(f"training.parameters: XGBoost does not know {unknown[1]}; mend the name")
