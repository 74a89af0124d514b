"""Which parameters does a trial try, when is it pruned, and which trial wins?

Optuna decides, on a study that is made anew in memory, from what is known of the trials, whenever
something is to be decided. It has no storage of its own: an RDBStorage beside calls and receipts would
be a second truth, and what a process asked for in the first and did not tell the second before it died
would be lost, or done twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from include.lifecycle.spec.metrics import HIGHER_IS_BETTER, Metric
from include.lifecycle.spec.search import Parameters, Range, Search
from include.lifecycle.spec.value import Value, canonical_json, sha256

_PRUNERS: dict[str, Callable[[Search], BasePruner]] = {
    "median": lambda search: MedianPruner(),
    "hyperband": lambda search: HyperbandPruner(min_resource=search.segment),
    "successive_halving": lambda search: SuccessiveHalvingPruner(min_resource=search.segment),
    "none": lambda search: NopPruner(),
}
_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "running": TrialState.RUNNING,
    "failed": TrialState.FAIL,
}


class Outcome(Value):
    """What came of a trial, as its receipt says."""

    state: Literal["complete", "pruned", "running", "failed"]
    value: float | None = None
    """The search's metric on the stop span; None where the trial was not completed."""
    trees: int | None = None
    """How many early stopping chose; of a pruned trial how many it had grown."""
    intermediate: dict[int, float] = {}
    """The metric after so many trees."""
    rungs: dict[str, float] = {}
    """What successive halving, and so hyperband, keeps of a trial."""


class Trial(Value):
    """One set of parameters, and what is known of it."""

    parameters: Parameters = {}
    outcome: Outcome


class Choice(Value):
    """The number of the winning trial, None when none was completed, and why."""

    number: int | None
    why: str


def ask(search: Search, given: Parameters, trials: Sequence[Trial]) -> Parameters:
    """The parameters of the trial after `trials`, always the same ones.

    The first tries `given`, the parameters that are used without a search, where the space has them.
    Later ones are drawn by a tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS 24), after
    ten at random; those still running count as bad ones, so that a round does not try one thing alone.
    """
    study = _study(search, trials)
    if not trials:
        study.enqueue_trial(
            {
                name: given[name]
                for name, span in search.space.items()
                if name in given and span.contains(given[name])
            }
        )
    parameters: Parameters = study.ask(_distributions(search)).params
    return parameters


def open_trial(search: Search, trials: Sequence[Trial], parameters: Parameters) -> optuna.Trial:
    """The trial after `trials`, to report to and to ask whether it should be pruned."""
    study = _study(search, trials)
    study.enqueue_trial(dict(parameters))
    return study.ask(_distributions(search))


def rungs_of(trial: optuna.Trial) -> dict[str, float]:
    """What successive halving noted of a trial; other pruners note nothing."""
    noted = trial.study.get_trials(deepcopy=False)[trial.number].system_attrs
    return {name: value for name, value in noted.items() if name.startswith("completed_rung_")}


def choose_best(search: Search, trials: Sequence[Trial]) -> Choice:
    """The completed trial with the best value, the earlier one of two."""
    values = {
        number: trial.outcome.value
        for number, trial in enumerate(trials)
        if trial.outcome.state == "complete" and trial.outcome.value is not None
    }
    if not values:
        return Choice(number=None, why=f"none of {len(trials)} trials was completed")
    sign = -1 if search.metric in HIGHER_IS_BETTER else 1
    number = min(values, key=lambda number: (sign * values[number], number))
    count = {state: sum(trial.outcome.state == state for trial in trials) for state in ("pruned", "failed")}
    return Choice(
        number=number,
        why=f"trial {number} has the best {search.metric}, {values[number]:.5f}, of {len(trials)} "
        f"({count['pruned']} pruned, {count['failed']} failed)",
    )


def _study(search: Search, trials: Sequence[Trial]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(sha256(canonical_json([search.seed, len(trials)]))[:8], 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = TPESampler(seed=seed, constant_liar=True)
    study = optuna.create_study(
        # Hyperband takes a trial's bracket from the study's name and the trial's number.
        study_name="search",
        direction=_direction(search.metric),
        sampler=sampler,
        pruner=_PRUNERS[search.pruner](search),
    )
    distributions = _distributions(search)
    for trial in trials:
        study.add_trial(_frozen(trial, distributions))
    return study


def _frozen(trial: Trial, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    outcome = trial.outcome
    rungs: dict[str, Any] = dict(outcome.rungs)
    return optuna.trial.create_trial(
        state=_STATES[outcome.state],
        value=outcome.value,
        params=trial.parameters,
        distributions=distributions if trial.parameters else {},
        intermediate_values=outcome.intermediate,
        system_attrs=rungs,
    )


def _direction(metric: Metric) -> str:
    return "maximize" if metric in HIGHER_IS_BETTER else "minimize"


def _distributions(search: Search) -> dict[str, BaseDistribution]:
    return {name: _distribution(span) for name, span in search.space.items()}


def _distribution(span: Range) -> BaseDistribution:
    if span.int is not None:
        return IntDistribution(*span.int, log=span.log)
    if span.float is not None:
        return FloatDistribution(*span.float, log=span.log)
    return CategoricalDistribution(span.categorical or ())
