"""What a user may write about the search for a model's hyperparameters."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator

from include.lifecycle.spec.metrics import Metric
from include.lifecycle.spec.quantities import Cron
from include.lifecycle.spec.value import Value, canonical_json, sha256

Parameter = float | int | str
Parameters = dict[str, Parameter]
WholeBounds = tuple[int, int]
Bounds = tuple[FiniteFloat, FiniteFloat]
Categories = Annotated[tuple[Parameter, ...], Field(min_length=2)]

MOST_ROUNDS = 100
"""Rounds of trials that one search may have: each is two tasks of the DAG."""
_NOT_SEARCHED = {
    "device": "write compute: {trial: {gpu: 1}}",
    "n_estimators": "early stopping chooses the number of trees, up to training.max_trees",
    "n_jobs": "the profile, or compute, says how many threads",
    "random_state": "training.seed is the seed",
}


class Range(Value):
    """The values that a parameter may take: exactly one of `int`, `float` and `categorical`."""

    int: WholeBounds | None = None
    """Smallest and largest whole number."""
    float: Bounds | None = None
    """Smallest and largest number."""
    categorical: Categories | None = None
    """All values, in no order."""
    log: bool = False
    """Whether 0.01 is as far from 0.1 as 0.1 is from 1; of numbers above 0."""

    @property
    def bounds(self) -> Bounds | None:
        """Smallest and largest number; None where there are categories."""
        return self.int or self.float

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        kinds = [kind for kind in (self.int, self.float, self.categorical) if kind is not None]
        if len(kinds) != 1:
            raise ValueError("exactly one of int: [low, high], float: [low, high], categorical: [one, other]")
        return self

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.categorical is not None:
            if self.log:
                raise ValueError("log: true beside int or float; categories have no order")
            if len(set(self.categorical)) < len(self.categorical):
                raise ValueError("each category once")
        elif self.bounds is not None:
            low, high = self.bounds
            if low >= high:
                raise ValueError(f"[low, high] with low < high; for {low:g} alone write training.parameters")
            if self.log and low <= 0:
                raise ValueError("log: true for numbers above 0 only")
        return self

    def contains(self, value: Parameter) -> bool:
        """Whether a parameter may take this value."""
        if self.categorical is not None:
            return value in self.categorical
        if self.bounds is None or isinstance(value, str):
            return False
        return self.bounds[0] <= value <= self.bounds[1] and (self.float is not None or value % 1 == 0)


class Search(Value):
    """How hyperparameters are searched for: the space, the budget, and by what trials are compared.

    Each trial fits until the stop span and is measured on it; no trial sees the gate span. The first
    one tries what `training.parameters` says, as far as it lies in the space.
    """

    space: dict[str, Range] = Field(min_length=1)
    """Parameters of the estimator, in the place of those in training.parameters."""
    metric: Metric = "brier"
    trials: int = Field(default=30, ge=1)
    minutes: int = Field(default=60, ge=1)
    """No trial begins when this much time has passed since the search began."""
    parallel: int = Field(default=2, ge=1, le=64)
    """Trials of a round, which run at the same time and learn from the rounds before."""
    pruner: Literal["median", "hyperband", "successive_halving", "none"] = "median"
    """Which of Optuna's pruners ends a trial early that is worse than the others were."""
    segment: int = Field(default=25, ge=1)
    """A trial tells the pruner how it stands after each segment of this many trees."""
    seed: int = 0
    schedule: Cron | None = None
    """When to search; by hand alone when empty."""

    @property
    def rounds(self) -> int:
        """How many rounds it takes to run all trials."""
        return ceil(self.trials / self.parallel)

    @property
    def space_hash(self) -> str:
        """Tells this space from others."""
        return sha256(canonical_json(self.model_dump(mode="json", include={"space"})))

    @field_validator("space")
    @classmethod
    def _leaves_out_what_is_said_elsewhere(cls, space: dict[str, Range]) -> dict[str, Range]:
        for name in _NOT_SEARCHED.keys() & space.keys():
            raise ValueError(f"no {name} here: {_NOT_SEARCHED[name]}")
        return space

    @model_validator(mode="after")
    def _has_not_too_many_rounds(self) -> Self:
        if self.rounds > MOST_ROUNDS:
            raise ValueError(
                f"trials: {self.trials} in rounds of {self.parallel} are {self.rounds} rounds, at most "
                f"{MOST_ROUNDS} allowed; raise parallel to {ceil(self.trials / MOST_ROUNDS)}"
            )
        return self
