"""Measures predictions against labels, with intervals, alone and against another version's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from include.lifecycle.spec.metrics import HIGHER_IS_BETTER, Metric
from include.lifecycle.spec.value import Value

Numbers = npt.NDArray[np.float64]

METRICS: dict[Metric, Callable[[Numbers, Numbers], float]] = {
    "brier": lambda label, score: float(brier_score_loss(label, score)),
    "log_loss": lambda label, score: float(log_loss(label, score, labels=[0, 1])),
    "auc": lambda label, score: float(roc_auc_score(label, score)) if len(set(label)) > 1 else float("nan"),
}


class Estimate(Value):
    """A value with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


class Evaluation(Value):
    """A candidate's metrics on the gate rows, and the champion's on the same rows."""

    rows: int = Field(ge=0)
    candidate: dict[Metric, Estimate] = {}
    champion: dict[Metric, Estimate] = {}
    loss: dict[Metric, Estimate] = {}
    """How much worse the candidate is than the champion; negative where it is better."""
    compared_with: str | None = None
    """The champion's version, or None when there is none."""
    change: float | None = None
    """How far the answers to the same rows are apart, in the mean and without sign."""
    compared_rows: int = 0
    """Rows that both have predictions for, made before their labels were known."""
    why_not_compared: str | None = None


def metrics_of(label: Numbers, score: Numbers) -> dict[Metric, float]:
    """Every metric that the rows define; equal labels define no AUC."""
    values = {metric: measure(label, score) for metric, measure in METRICS.items()}
    return {metric: value for metric, value in values.items() if not np.isnan(value)}


def evaluate(
    gate: pd.DataFrame, champion: pd.Series | None, version: str | None, seed: int, draws: int = 200
) -> Evaluation:
    """Evaluate `score` against `_label`, and against the champion's scores where both are present.

    `champion` holds the champion's probabilities, aligned with `gate`, missing where it has none.
    Intervals are percentile bootstraps over days: flights of one day share their weather
    (block bootstrap; Künsch 1989, Annals of Statistics 17(3)).
    """
    alone = _bootstrap(gate, {"candidate": gate["score"].to_numpy()}, seed, draws)
    result = Evaluation(rows=len(gate), candidate=alone["candidate"])
    if champion is None or version is None:
        return result
    both = champion.notna().to_numpy()
    if gate["_label"][both].nunique() < 2:
        reason = (
            f"version {version} predicted {both.sum()} of these rows before their labels were known; "
            "a comparison needs rows of both labels"
        )
        return result.model_copy(update={"compared_with": version, "why_not_compared": reason})
    pair = _bootstrap(
        gate[both],
        {"candidate": gate["score"].to_numpy()[both], "champion": champion.to_numpy()[both]},
        seed,
        draws,
    )
    return result.model_copy(
        update={
            "compared_with": version,
            "change": float(np.abs(gate["score"][both] - champion[both]).mean()),
            "compared_rows": int(both.sum()),
            "champion": pair["champion"],
            "loss": pair["loss"],
        }
    )


def _bootstrap(
    rows: pd.DataFrame, scores: dict[str, Numbers], seed: int, draws: int
) -> dict[str, dict[Metric, Estimate]]:
    """Metrics of each score, and the `loss` of the first against the second, with intervals.

    A metric that the rows do not define, such as the AUC of equal labels, is left out.
    """
    label = rows["_label"].to_numpy(dtype=float)
    blocks = list(rows.groupby(rows["_event_time"].dt.floor("D")).indices.values())
    random = np.random.default_rng(seed)
    samples = [np.arange(len(rows))]
    for _ in range(draws):
        chosen = random.integers(len(blocks), size=len(blocks))
        samples.append(np.concatenate([blocks[index] for index in chosen]))
    table = {
        name: {
            metric: np.array([measure(label[s], score[s]) for s in samples])
            for metric, measure in METRICS.items()
        }
        for name, score in scores.items()
    }
    if "champion" in table:
        table["loss"] = {
            metric: _worse(metric, table["candidate"][metric], table["champion"][metric])
            for metric in METRICS
        }
    return {
        name: {metric: _estimate(values) for metric, values in by_metric.items() if not np.isnan(values[0])}
        for name, by_metric in table.items()
    }


def _worse(metric: Metric, candidate: Numbers, champion: Numbers) -> Numbers:
    return champion - candidate if metric in HIGHER_IS_BETTER else candidate - champion


def _estimate(values: Numbers) -> Estimate:
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return Estimate(value=float(values[0]), low=float(low), high=float(high))
