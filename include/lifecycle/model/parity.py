"""Do compiled trees answer as the trained ones do? A gate, on rows that were held out and on odd ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from xgboost import Booster

from include.lifecycle.model.fitted import Fitted
from include.lifecycle.model.matrix import encoded
from include.lifecycle.model.predictor import Classifier
from include.lifecycle.spec.value import Value

Matrix = npt.NDArray[np.float64]

BOUND = 1e-6
"""Largest difference of two probabilities. Both add up the same leaves as float32, in another order, which
makes some 3e-7 of hundreds of trees; a row that comes to another leaf differs by much more."""
_HELD_OUT_ROWS = 50_000
_ODD_ROWS = 2_000
_UNSEEN = "\0 no category of any training"


class Parity(Value):
    """The verdict on compiled trees."""

    passed: bool
    reason: str
    rows: int = 0
    largest: dict[str, float] = {}
    """The largest difference of two probabilities, by kind of rows."""


def judge(
    rows: Iterable[tuple[str, Matrix]], trained: Classifier, compiled: Classifier, bound: float = BOUND
) -> Parity:
    """Whether both answer within the bound on each kind of rows, which may come in several parts."""
    count, largest = 0, dict[str, float]()
    for kind, matrix in rows:
        if not len(matrix):
            continue
        difference = _difference(compiled(matrix), trained(matrix))
        count, largest[kind] = count + len(matrix), max(difference, largest.get(kind, 0.0))
        if difference > bound:
            reason = f"{kind} rows: the compiled trees differ by {difference:.3g}, more than {bound:g}"
            return Parity(passed=False, reason=reason, rows=count, largest=largest)
    if not largest:
        return Parity(passed=False, reason="there are no rows to compare on")
    widest = f"they differ by {max(largest.values()):.3g} at most"
    return Parity(passed=True, reason=widest, rows=count, largest=largest)


def _difference(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """The largest of any row; as great as can be where one gives no number."""
    differences = np.abs(np.subtract(one, other, dtype=np.float64))
    return float(np.nan_to_num(differences, nan=1.0, posinf=1.0).max())


def rows_to_compare(
    fitted: Fitted, held_out: Iterable[pd.DataFrame], seed: int
) -> Iterator[tuple[str, Matrix]]:
    """Held-out rows, up to 50,000; some of them with values missing or unseen; rows on the trees' borders."""
    texts = [name for name, known in fitted.categories.items() if known is not None]
    first, left = None, _HELD_OUT_ROWS
    for batch in held_out:
        if not left:
            break
        yield "held-out", encoded(batch.head(left), fitted.categories)
        first, left = batch.head(_ODD_ROWS) if first is None else first, max(0, left - len(batch))
    if first is not None and len(first):
        matrix = encoded(first, fitted.categories)
        yield "missing", np.concatenate([_without(matrix, place) for place in (..., *range(matrix.shape[1]))])
        yield "unseen", encoded(first.assign(**dict.fromkeys(texts, _UNSEEN)), fitted.categories)
    yield "border", _on_borders(fitted, np.random.default_rng(seed))


def _without(matrix: Matrix, place: Any) -> Matrix:
    """A tenth of the rows without one of the features, or without any."""
    found = matrix[::10].copy()
    found[:, place] = np.nan
    return found


def _on_borders(fitted: Fitted, draw: np.random.Generator) -> Matrix:
    """Rows of values at which the trees part, of their neighbours, and of the greatest there are."""
    assert isinstance(fitted.classifier, Booster)
    borders = _borders(fitted.classifier)
    columns = [
        draw.choice(_around(borders.get(place, [])) if known is None else _codes(known), _ODD_ROWS)
        for place, known in enumerate(fitted.categories.values())
    ]
    return np.column_stack(columns)


def _borders(booster: Booster) -> Mapping[int, list[float]]:
    learner = json.loads(booster.save_raw("json"))["learner"]
    found: dict[int, list[float]] = {}
    for tree in learner["gradient_booster"]["model"]["trees"]:
        for place, border in zip(tree["split_indices"], tree["split_conditions"], strict=True):
            found.setdefault(place, []).append(border)
    return found


def _around(borders: list[float]) -> Matrix:
    """Trees compare as float32: beside each border the next such numbers, and what rounds to it."""
    exact = np.unique(np.asarray(borders, dtype=np.float32))
    below, above = np.nextafter(exact, np.float32(-np.inf)), np.nextafter(exact, np.float32(np.inf))
    between = (exact.astype(np.float64) * 3 + below) / 4
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, -1e300, 1e-320]
    return np.concatenate([exact, below, above, between, special], dtype=np.float64)


def _codes(known: list[str]) -> Matrix:
    return np.append(np.arange(len(known), dtype=np.float64), np.nan)
