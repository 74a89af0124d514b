"""How far a window's features are from the training's: exact counts over all rows, by DuckDB."""

from __future__ import annotations

import math
from datetime import timedelta

import pandas as pd

from include.lifecycle.spec.value import Value
from include.lifecycle.store.scan import connect

BINS = 10


class Reference(Value):
    """Distribution of one feature in the training set: shares of bins, or of categories."""

    edges: tuple[float, ...] | None = None
    """Inner edges of the bins of a number, ascending; None for a category."""
    shares: dict[str, float]
    """Share of rows per bin (`0`, `1`, …), per category, and of missing values (empty string)."""
    usual: float = 0.0
    """Largest population stability index of any span of the training set against all of it."""


def describe(features: pd.DataFrame, event_time: pd.Series, span: timedelta) -> dict[str, Reference]:
    """Reference distributions of features; numbers get at most 10 bins at training quantiles.

    `usual` is taken over consecutive spans of length `span`, the window's.
    """
    references = _distributions(features)
    usual = dict.fromkeys(references, 0.0)
    spans = (event_time - event_time.min()) // span
    for _, rows in features.groupby(spans.to_numpy()):
        if len(rows) * 2 * spans.nunique() >= len(features):
            for name, psi in stability(rows, references).items():
                usual[name] = max(usual[name], psi)
    return {name: item.model_copy(update={"usual": usual[name]}) for name, item in references.items()}


def _distributions(features: pd.DataFrame) -> dict[str, Reference]:
    references = {}
    with connect() as db:
        db.register("features", features)
        for name in features:
            edges = None
            if features[name].dtype != object:
                quantiles = [step / BINS for step in range(1, BINS)]
                (found,) = db.execute(
                    f'SELECT quantile_disc("{name}", {quantiles}) FROM features '
                    f'WHERE NOT isnan("{name}"::DOUBLE)'
                ).fetchall()[0]
                edges = tuple(sorted(set(map(float, found or []))))
            references[str(name)] = Reference(edges=edges, shares=_shares(db, str(name), edges))
    return references


def stability(features: pd.DataFrame, references: dict[str, Reference]) -> dict[str, float]:
    """Population stability index of each feature against its reference.

    PSI = Σ (p − q) ln(p / q) over bins, each share floored at 1e-4; 0.1 is called a slight and 0.25
    a great shift (Siddiqi 2006, Credit Risk Scorecards). It is an effect size: it does not grow
    with the number of rows.
    """
    with connect() as db:
        db.register("features", features)
        return {
            name: _psi(reference.shares, _shares(db, name, reference.edges))
            for name, reference in references.items()
            if name in features
        }


def _shares(db: object, name: str, edges: tuple[float, ...] | None) -> dict[str, float]:
    if edges is None:
        bin_of = f"coalesce(\"{name}\"::VARCHAR, '')"
    else:
        passed = " + ".join(f'("{name}"::DOUBLE > {edge!r})::INT' for edge in edges) or "0"
        bin_of = (
            f'CASE WHEN "{name}" IS NULL OR isnan("{name}"::DOUBLE) THEN \'\' ELSE ({passed})::VARCHAR END'
        )
    counts = db.execute(f"SELECT {bin_of}, count(*) FROM features GROUP BY 1 ORDER BY 1").fetchall()  # type: ignore[attr-defined]
    total = sum(count for _, count in counts)
    return {str(key): count / total for key, count in counts}


def _psi(expected: dict[str, float], found: dict[str, float]) -> float:
    floor = 1e-4
    total = 0.0
    for key in expected.keys() | found.keys():
        p, q = max(found.get(key, 0.0), floor), max(expected.get(key, 0.0), floor)
        total += (p - q) * math.log(p / q)
    return total
