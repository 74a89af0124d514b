"""What a user may write about a model: rows, label, training, gates, release, monitoring."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from include.lifecycle.spec.compute import Compute, SharedTraining
from include.lifecycle.spec.dataset import Identifier
from include.lifecycle.spec.metrics import Metric
from include.lifecycle.spec.nearest import nearest
from include.lifecycle.spec.quantities import Cron, Duration
from include.lifecycle.spec.release import ReleasePolicy
from include.lifecycle.spec.search import Search
from include.lifecycle.spec.value import Value

XGBOOST = "xgboost.XGBClassifier"
OF_XGBOOST = ("stop", "max_trees", "min_trees", "patience", "segment", "checkpoint", "external_memory")
"""Keys of `training` about trees that are grown one after another; no other estimator is stopped early."""
_ESTIMATOR = re.compile(r"xgboost\.XGBClassifier|sklearn(\.\w+)+")


class Join(Value):
    """Another dataset, joined as of the row's event time."""

    dataset: Identifier
    by: tuple[str, ...] = Field(min_length=1)
    """Columns that both tables share."""
    lag: Duration = timedelta(0)
    """The newest joined row is at least this much older than the row's event time."""
    tolerance: Duration = timedelta(days=1)
    """Joined rows older than lag + tolerance count as missing."""


class Label(Value):
    """What is predicted: whether a column, known later, reaches a bound."""

    column: str
    at_least: float


class Training(Value):
    """How a version is learned."""

    schedule: Cron = "0 2 * * *"
    history: Duration | None = None
    """Learn from this much history; everything when empty."""
    stop: Duration = timedelta(days=14)
    """The span, before the gate span, on which the number of XGBoost's trees is chosen."""
    gate: Duration = timedelta(days=7)
    """The newest span, which neither candidate nor champion has seen when they are compared."""
    max_trees: int = Field(default=400, ge=1)
    min_trees: int = Field(default=1, ge=1)
    patience: int = Field(default=30, ge=1)
    """Stop when this many trees brought no gain on the stop span."""
    estimator: str = XGBOOST
    """What is fitted: xgboost.XGBClassifier, or a classifier of scikit-learn's that gives probabilities,
    such as sklearn.linear_model.LogisticRegression."""
    parameters: dict[str, float | int | bool | str | None] = {}
    """Parameters of the estimator's constructor."""
    seed: int = 0
    segment: int = Field(default=1000, ge=1)
    """A fit can go on from the end of each segment of this many trees. It decides the version: each
    later segment draws with a seed of its own."""
    checkpoint: Duration = timedelta(minutes=5)
    """At the end of a segment what is finished is kept in the store, unless it was this short ago."""

    external_memory: bool = False
    """Never load the rows whole: XGBoost reads them batch by batch from the scratch disk. For more rows
    than memory holds; slower."""

    @property
    def is_xgboost(self) -> bool:
        """Whether trees are grown one after another: only then have they checkpoints and a GPU."""
        return self.estimator == XGBOOST

    @field_validator("estimator")
    @classmethod
    def _names_a_known_library(cls, name: str) -> str:
        if not _ESTIMATOR.fullmatch(name):
            raise ValueError(
                f"{XGBOOST}, or the full name of a classifier of scikit-learn's, such as "
                "sklearn.linear_model.LogisticRegression"
            )
        return name

    @model_serializer(mode="wrap")
    def _what_applies(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys that mean nothing for the estimator: a change of theirs makes no other model."""
        dumped: dict[str, Any] = handler(self)
        return {key: value for key, value in dumped.items() if self.is_xgboost or key not in OF_XGBOOST}

    @model_validator(mode="after")
    def _leaves_the_device_to_compute(self) -> Self:
        if "device" in self.parameters:
            raise ValueError(
                "parameters.device: XGBoost would train on the CPU where it finds no GPU; write "
                "compute: {train: {gpu: 1}} instead"
            )
        return self


class Gate(Value):
    """A check a version must pass before it is registered."""

    metric: Metric
    at_least: float | None = None
    at_most: float | None = None
    worse_by_at_most: float | None = Field(default=None, ge=0)
    """Largest loss against the champion, on the same rows: the gate fails when the loss is greater
    even at the low end of its interval, that is, on evidence of harm."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if (self.at_least, self.at_most, self.worse_by_at_most) == (None, None, None):
            raise ValueError("a gate needs at_least, at_most or worse_by_at_most")
        return self


class Drift(Value):
    """When the features of a window differ from the training's.

    Weather differs each week; so a feature has drifted only when its population stability index
    (PSI) is above `floor` and above `times` the largest that any span of the window's length shows
    inside the training set itself.
    """

    floor: float = Field(default=0.1, gt=0)
    times: float = Field(default=1.0, gt=0)
    features: int = Field(default=1, ge=1)
    """A window with at least this many drifted features is bad."""


class Performance(Value):
    """When the predictions of a window are bad, whatever the window's own difficulty."""

    min_skill: float = Field(default=0.0, lt=1)
    """Brier skill score: gain over always answering the window's own share of positives."""
    max_bias: float = Field(default=0.3, gt=0)
    """Difference of mean prediction and mean label, as a share of the training's mean label."""


class Monitoring(Value):
    """What is measured each window."""

    schedule: Cron = "0 0 * * *"
    lookback: Duration = timedelta(days=1)
    """A window looks at this much time before its end."""
    drift: Drift = Drift()
    performance: Performance = Performance()
    sample: int = Field(default=5_000, ge=100)
    """Rows in the Evidently report, drawn with a seed; the verdict uses all rows."""
    min_rows: int = Field(default=100, ge=1)
    """A window with fewer rows is recorded and judged neither good nor bad."""


class Governor(Value):
    """When a retraining is due; all times are business time."""

    bad_windows: int = Field(default=3, ge=1)
    of_last: int = Field(default=5, ge=1)
    min_growth: float = Field(default=0.2, ge=0)
    """Drift retrains only when this share of labelled rows is new to the champion: the gain of more
    data shrinks as the data grow."""
    cooldown: Duration = timedelta(days=7)
    """No retraining sooner than this after the last one; not shorter than training.gate, or the
    champion has seen the gate."""
    budget: int = Field(default=3, ge=1)
    budget_period: Duration = timedelta(days=30)
    max_age: Duration | None = timedelta(days=45)
    """Retrain when the last training is this old, drift or not; never for age alone when empty."""
    give_up_after: int = Field(default=3, ge=1)
    """Drift retrains no more after this many trainings in a row that brought no new champion."""


class Scoring(Value):
    """When the model's rows are scored as a table."""

    schedule: Cron | None = None
    """Each time the partitions that have ended since the time before; by hand, or by a backfill, alone when
    empty."""


class ModelSpec(Value):
    """What is learned from datasets, served and kept fresh."""

    name: Identifier
    description: str
    owner: str = "ml"
    tags: tuple[str, ...] = ()
    rows: Identifier
    """The dataset whose rows are predicted, one prediction a row."""
    joins: tuple[Join, ...] = ()
    label: Label
    inputs: tuple[str, ...] = Field(min_length=1)
    """Columns that the features may use; every one must be known at the event time."""
    features: str | None = None
    """The Python file with `features(rows)`, beside the YAML; `<name>.py` when empty."""
    training: Training = Training()
    search: Search | None = None
    """How better parameters are searched for; without it there is no `<model>.search`."""
    gates: tuple[Gate, ...] = ()
    release: ReleasePolicy = Field(default=ReleasePolicy(), exclude=True)
    """How a version comes to users; no part of what is computed."""
    monitoring: Monitoring = Monitoring()
    governor: Governor = Governor()
    scoring: Scoring = Field(default=Scoring(), exclude=True)
    """How tables are scored; no part of what is learned."""
    compute: Annotated[
        dict[Literal["train", "trial", "evaluate", "register", "measure", "score"], Compute], SharedTraining
    ] = Field(default={}, exclude=True)
    """What each step needs of a machine; no part of what is computed."""

    @model_validator(mode="after")
    def _has_memory_of_one_kind(self) -> Self:
        needs = self.compute.get("train", Compute())
        if self.training.external_memory and needs.gpu:
            raise ValueError(
                "training.external_memory: on a GPU XGBoost takes batches that lie in the GPU's memory, and "
                "rows are read into the CPU's: take out external_memory, or gpu from compute.train"
            )
        if self.training.external_memory and needs.workers > 1:
            raise ValueError(
                "training.external_memory: several workers have their shares of the rows in memory: take out "
                "external_memory, or workers from compute.train"
            )
        return self

    @model_validator(mode="after")
    def _asks_of_an_estimator_what_it_can(self) -> Self:
        estimator = self.training.estimator
        if self.training.is_xgboost:
            return self
        if self.search is not None:
            raise ValueError(f"search: it looks for parameters of {XGBOOST} alone; remove it, or {estimator}")
        if odd := [key for key in OF_XGBOOST if key in self.training.model_fields_set]:
            raise ValueError(
                f"training: {', '.join(odd)}: {estimator} is fitted in one go, without a number of trees to "
                f"choose or checkpoints to go on from; remove {'it' if len(odd) == 1 else 'them'}"
            )
        needs = self.compute.get("train", Compute())
        for key, asked in (("gpu", needs.gpu > 0), ("workers", needs.workers > 1)):
            if asked:
                raise ValueError(
                    f"compute.train.{key}: {estimator} learns on one machine's CPU; remove {key}, or train "
                    f"with {XGBOOST}"
                )
        return self

    @model_validator(mode="after")
    def _slices_by_an_input(self) -> Self:
        column = self.release.slice_by
        if column is not None and column not in self.inputs:
            raise ValueError(f"release.slice_by: {column!r} is no input{nearest(column, self.inputs)}")
        return self

    @property
    def features_file(self) -> str:
        """Name of the features file, beside the YAML."""
        return self.features or f"{self.name}.py"


def parameters_of(training: Training) -> dict[str, Any]:
    """The estimator's parameters as XGBoost takes them, the seed included."""
    return {**training.parameters, "random_state": training.seed}
