"""Learns a version: chooses the number of trees on a later span, then refits on everything known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder
from xgboost import XGBClassifier
from xgboost.core import XGBoostError

from include.lifecycle.data.point_in_time import EVENT_TIME, KEY, LABEL
from include.lifecycle.errors import Rejected
from include.lifecycle.model.checkpoints import Checkpoints, NoCheckpoints, fit_in_segments
from include.lifecycle.model.estimators import build_estimator, fit_estimator
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

    pipeline: Pipeline
    """Encoder and classifier, fitted on all rows."""
    trees: int | None
    """How many XGBoost grew; None of another estimator."""
    gate: pd.DataFrame
    """`_key`, `_event_time`, `_label` and `score` of the gate rows, by a fit that never saw them."""


def on_device(training: Training, device: str | None) -> Training:
    """The training on another device than the CPU, such as `cuda`."""
    if device is None:
        return training
    return training.model_copy(update={"parameters": {**training.parameters, "device": device}})


def train(
    training: Training,
    rows: pd.DataFrame,
    features: pd.DataFrame,
    end: datetime,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Fit, choose the number of XGBoost's trees, score the gate, refit on all rows known.

    `rows` has `_key`, `_event_time`, `_label`; `features` the same rows' features; `end` is the
    newest event time whose label could be known. What `checkpoints` have of the three fits is not
    grown again, and the version is the same. Raises Rejected when there is nothing to learn, and
    what `checkpoints` raise.
    """
    if not training.is_xgboost:
        return _train_in_one_go(training, rows, features, end)
    checkpoints = checkpoints or NoCheckpoints()
    spans = Spans.before(end, training)
    fit, stop = rows[EVENT_TIME] < spans.stop_from, rows[EVENT_TIME] < spans.gate_from
    gate = ~stop
    stop &= ~fit
    _require_rows(rows[LABEL], {"fit": fit, "stop": stop, "gate": gate}, training)

    label = rows[LABEL]
    with _people_can_read_errors():
        later = features[stop], label[stop]
        chosen = _fitted(
            "choosing", training, training.max_trees, features[fit], label[fit], checkpoints, later
        )
        trees = max(int(chosen.named_steps["classify"].best_iteration) + 1, training.min_trees)
        unseen = _fitted("gate", training, trees, features[~gate], label[~gate], checkpoints)
        scored = _scored(unseen, rows[gate], features[gate])
        final = _fitted("final", training, trees, features, label, checkpoints)
    return Trained(final, trees, scored)


def _train_in_one_go(
    training: Training, rows: pd.DataFrame, features: pd.DataFrame, end: datetime
) -> Trained:
    """The same for an estimator that has no number of trees to choose, and so needs no span for it."""
    label, gate = rows[LABEL], rows[EVENT_TIME] >= Spans.before(end, training).gate_from
    _require_rows(label, {"fit": ~gate, "gate": gate}, training)
    before = features[~gate]
    unseen = fit_estimator(build_pipeline(training, before), training, before, label[~gate])
    final = fit_estimator(build_pipeline(training, features), training, features, label)
    return Trained(final, None, _scored(unseen, rows[gate], features[gate]))


def _scored(unseen: Pipeline, rows: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    score = unseen.predict_proba(features)[:, 1].astype(float)
    return rows[[KEY, EVENT_TIME, LABEL]].assign(score=score).reset_index(drop=True)


def build_pipeline(training: Training, features: pd.DataFrame, trees: int | None = None) -> Pipeline:
    """An unfitted scikit-learn pipeline: a matrix of floats, text as category codes; then the classifier."""
    text = [name for name in features if features[name].dtype == object]
    encoder = ColumnTransformer(
        [
            (
                "categories",
                OrdinalEncoder(
                    # Of itself it would make None a category, and a package takes it for missing.
                    categories=[sorted(features[name].dropna().unique()) or [""] for name in text],
                    handle_unknown="use_encoded_value",
                    unknown_value=float("nan"),
                ),
                text,
            )
        ],
        remainder=FunctionTransformer(
            np.asarray, kw_args={"dtype": np.float64}, feature_names_out="one-to-one"
        ),
        verbose_feature_names_out=False,
    )
    numbers = features.shape[1] - len(text)
    if not training.is_xgboost:
        return Pipeline([("encode", encoder), ("classify", build_estimator(training, len(text), numbers))])
    kinds = ["c"] * len(text) + ["q"] * numbers
    classifier = XGBClassifier(
        n_estimators=trees,
        tree_method="hist",
        feature_types=kinds,
        enable_categorical=True,
        n_jobs=open_profile().threads,
        **parameters_of(training),
    )
    return Pipeline([("encode", encoder), ("classify", classifier)])


def _fitted(
    fit: str,
    training: Training,
    trees: int,
    features: pd.DataFrame,
    label: pd.Series,
    checkpoints: Checkpoints,
    stop: tuple[pd.DataFrame, pd.Series] | None = None,
) -> Pipeline:
    """The pipeline of a fit; with `stop`, a later span's features and labels, it may end early."""
    pipeline = build_pipeline(training, features, trees)
    encode, classify = pipeline.named_steps["encode"], pipeline.named_steps["classify"]
    encoded = encode.fit_transform(features)
    later = None if stop is None else (encode.transform(stop[0]), stop[1])
    fit_in_segments(fit, classify, training, encoded, label, checkpoints, later)
    _leave_gpu(classify)
    return pipeline


def _leave_gpu(classifier: XGBClassifier) -> None:
    """Who answers with the version need have no GPU, though one grew it."""
    classifier.set_params(device=None)
    classifier.get_booster().set_param({"device": "cpu"})


def _require_rows(label: pd.Series, spans: dict[str, pd.Series], training: Training) -> None:
    for name, mask in spans.items():
        if not mask.any():
            raise Rejected(
                f"training: the {name} span has no rows with a matured label; ingest more partitions, "
                f"or shorten {_lengths(training)}"
            )
    for name in ("fit", "gate"):
        if label[spans[name]].nunique() < 2:
            raise Rejected(
                f"training: every label of the {name} span is {label[spans[name]].iloc[0]:g}, and it needs "
                "both labels: check label.column and label.at_least, or lengthen training.gate"
            )


@contextmanager
def _people_can_read_errors() -> Iterator[None]:
    """Turn what XGBoost says into Rejected."""
    try:
        yield
    except (XGBoostError, TypeError, ValueError) as error:
        reason = _PLACE.sub("", str(error).splitlines()[0])
        raise Rejected(f"training: XGBoost refuses ({reason}); check training.parameters") from error


def _lengths(training: Training) -> str:
    gate = f"training.gate ({_days(training.gate)})"
    return f"training.stop ({_days(training.stop)}) and {gate}" if training.is_xgboost else gate


def _days(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 86_400:g}d"
