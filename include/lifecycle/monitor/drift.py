"""How far a window's features are from the training's: exact counts over all rows, by DuckDB."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

from include.lifecycle.data.point_in_time import EVENT_TIME
from include.lifecycle.model.training_set import TrainingSet
from include.lifecycle.spec.value import Value
from include.lifecycle.store.scan import connect

BINS = 10
_TICK = timedelta(microseconds=1)
Shares = npt.NDArray[np.float64]


class Reference(Value):
    """Distribution of one feature in the training set: shares of bins, or of categories."""

    edges: tuple[float, ...] | None = None
    """Inner edges of the bins of a number, ascending; None for a category."""
    shares: dict[str, float]
    """Share of rows per bin (`0`, `1`, …), per category, and of missing values (empty string)."""
    usual: float = 0.0
    """Largest population stability index of any block of the training set against the rest of it."""


def describe(table: TrainingSet, span: timedelta) -> dict[str, Reference]:
    """Reference distributions of features; numbers get at most 10 bins at training quantiles.

    `usual` is taken over all blocks of length `span`, the window's, that begin on a day.
    """
    cell = min(span, timedelta(days=1))
    references = {}
    with connect() as db:
        table.register("training_set", db)
        db.execute(
            f"CREATE TEMP VIEW features AS SELECT *, (epoch_us({EVENT_TIME}) - (SELECT "
            f"epoch_us(date_trunc('day', min({EVENT_TIME}))) FROM training_set)) // {cell // _TICK} AS _cell "
            "FROM training_set"
        )
        for name in (*table.texts, *table.numbers):
            edges = None if name in table.texts else _edges(db, name)
            counts = _counts(db, name, edges)
            references[name] = Reference(
                edges=edges,
                shares={str(key): float(share) for key, share in (counts.sum() / len(table)).items()},
                usual=_largest_between_blocks(counts, width=span // cell),
            )
    return references


def stability(features: pd.DataFrame, references: dict[str, Reference]) -> dict[str, float]:
    """Population stability index of each feature against its reference."""
    found = {}
    with connect() as db:
        db.register("features", features.assign(_cell=0))
        for name, reference in references.items():
            if name in features:
                shares = _counts(db, name, reference.edges).sum() / len(features)
                expected, seen = pd.Series(reference.shares).align(shares, fill_value=0.0)
                found[name] = float(_index(expected.to_numpy(), seen.to_numpy()))
    return found


def _edges(db: duckdb.DuckDBPyConnection, name: str) -> tuple[float, ...]:
    quantiles = [step / BINS for step in range(1, BINS)]
    (found,) = db.execute(
        f'SELECT quantile_disc("{name}", {quantiles}) FROM features WHERE NOT isnan("{name}"::DOUBLE)'
    ).fetchall()[0]
    return tuple(sorted(set(map(float, found or []))))


def _counts(db: duckdb.DuckDBPyConnection, name: str, edges: tuple[float, ...] | None) -> pd.DataFrame:
    """Rows per cell of time (down) and bin or category (across)."""
    if edges is None:
        bin_of = f"coalesce(\"{name}\"::VARCHAR, '')"
    else:
        passed = " + ".join(f'("{name}"::DOUBLE > {edge!r})::INT' for edge in edges) or "0"
        bin_of = (
            f'CASE WHEN "{name}" IS NULL OR isnan("{name}"::DOUBLE) THEN \'\' ELSE ({passed})::VARCHAR END'
        )
    rows = db.sql(f"SELECT _cell, {bin_of} AS bin, count(*) AS n FROM features GROUP BY 1, 2").df()
    counts = rows.pivot_table(index="_cell", columns="bin", values="n", aggfunc="sum", fill_value=0)
    table: pd.DataFrame = counts.reindex(range(int(counts.index.max()) + 1), fill_value=0)
    return table


def _largest_between_blocks(counts: pd.DataFrame, width: int) -> float:
    """The largest index of a block of cells against all others; 0 where there is only one block.

    A block with fewer than half the usual rows, as around a gap, says little and is left out.
    """
    blocks = counts.rolling(width).sum().dropna().to_numpy()
    rest = counts.sum().to_numpy() - blocks
    rows = blocks.sum(axis=1)
    kept = (rows >= rows.mean() / 2) & (rest.sum(axis=1) > 0)
    if not kept.any():
        return 0.0
    shares = [part[kept] / part[kept].sum(axis=1, keepdims=True) for part in (rest, blocks)]
    return float(_index(shares[0], shares[1]).max())


def _index(expected: Shares, found: Shares) -> Shares:
    """PSI = Σ (p − q) ln(p / q) over the last axis, each share floored at 1e-4.

    0.1 is called a slight and 0.25 a great shift (Siddiqi 2006, Credit Risk Scorecards). It is an
    effect size: it does not grow with the number of rows.
    """
    p, q = np.maximum(found, 1e-4), np.maximum(expected, 1e-4)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))
