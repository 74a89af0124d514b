"""Turns rows with features into the matrix that XGBoost grows trees on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from xgboost import DataIter, DMatrix, ExtMemQuantileDMatrix, QuantileDMatrix

from include.lifecycle.data.point_in_time import LABEL
from include.lifecycle.model.predictor import codes_of, encode
from include.lifecycle.model.training_set import TrainingSet

Categories = Mapping[str, list[str] | None]
"""The features in the order that the trees expect, a text's categories in order of code."""


def categories_of(table: TrainingSet, until: datetime | None) -> Categories:
    """Features, and the categories that occur before a moment."""
    found: dict[str, set[str]] = {name: set() for name in table.texts}
    for batch in table.between(None, until, table.texts) if found else ():
        for name, known in found.items():
            known.update(value for value in batch[name].unique() if isinstance(value, str))
    return {**{name: sorted(known) for name, known in found.items()}, **dict.fromkeys(table.numbers)}


def encoded(features: pd.DataFrame, categories: Categories) -> npt.NDArray[np.float64]:
    """Features as numbers (rows × features), as a package encodes them."""
    return encode({name: features[name].to_numpy() for name in categories}, codes_of(categories))


def build_matrix(
    table: TrainingSet,
    since: datetime | None,
    until: datetime | None,
    categories: Categories,
    *,
    threads: int,
    max_bin: int | None,
    ask: Callable[[], None],
    ref: DMatrix | None = None,
) -> DMatrix:
    """The matrix of a span; one that is only evaluated takes its bins from `ref`. Raises what `ask` does,
    which is called for each batch.

    Beyond memory, XGBoost keeps the binned features in its folder's files and goes through them
    batch by batch (`ExtMemQuantileDMatrix`); labels, gradients and places of rows stay in memory,
    some 40 bytes a row.
    """
    batches = table.between(since, until, [*categories, LABEL])
    about = {"nthread": threads, "max_bin": max_bin, "ref": ref}
    if table.cache is not None:
        folder = tempfile.mkdtemp(prefix="pages-", dir=table.cache)
        return ExtMemQuantileDMatrix(_Batches(batches, categories, f"{folder}/", ask), **about)
    (batch,) = batches
    return QuantileDMatrix(**_input(batch, categories), **about)


class _Batches(DataIter):
    """The batches as XGBoost asks for them, several times over."""

    def __init__(
        self, batches: Iterable[pd.DataFrame], categories: Categories, prefix: str, ask: Callable[[], None]
    ) -> None:
        self._ask = ask
        self._batches = batches
        self._categories = categories
        self._left: Iterator[pd.DataFrame] = iter(())
        super().__init__(cache_prefix=prefix)

    def reset(self) -> None:
        """Begin again."""
        self._left = iter(self._batches)

    def next(self, input_data: Any) -> bool:
        """Hand over one batch more; False at the end."""
        self._ask()
        batch = next(self._left, None)
        if batch is not None:
            input_data(**_input(batch, self._categories))
        return batch is not None


def _input(batch: pd.DataFrame, categories: Categories) -> dict[str, Any]:
    kinds = ["q" if known is None else "c" for known in categories.values()]
    return {"data": encoded(batch, categories), "label": batch[LABEL], "feature_types": kinds}
