"""Two versions of the example a month apart, and the flights of the month after the second one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from include.lifecycle.data.point_in_time import EVENT_TIME, read_rows
from include.lifecycle.model.packaging import fetch_package
from include.lifecycle.model.predictor import Columns, Predictor, as_columns
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.steps import train
from include.lifecycle.steps.evaluate import specs_of
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt, read_receipt
from tests.benchmarks.year import MODEL, publish_year

CHAMPION_AS_OF, CANDIDATE_AS_OF = datetime(2013, 6, 1, tzinfo=UTC), datetime(2013, 7, 1, tzinfo=UTC)
MONTH_END = datetime(2013, 8, 1, tzinfo=UTC)
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MonthApart:
    """The month's rows, as columns that have their types, and both versions' answers to them."""

    columns: Columns
    day: Array
    """Of the month, in UTC, by row."""
    champion: Array
    """Scores by row."""
    candidate: Array
    """Scores by row."""
    predictor: Predictor
    """The candidate's."""

    def candidate_given(self, changed: Mapping[str, Array]) -> Array:
        """The candidate's scores where some inputs are changed."""
        return self.predictor.predict_columns({**self.columns, **changed})


def month_apart(folder: Path) -> MonthApart:
    """Publish the year below a folder, train both versions by the project's own step, and score July."""
    store = Store(str(folder / "store"))
    publish_year(store, at_once=True)
    older, newer = (_trained(as_of, store) for as_of in (CHAMPION_AS_OF, CANDIDATE_AS_OF))
    model, datasets = specs_of(newer)
    rows = read_rows(
        model,
        datasets,
        newer.call.inputs["versions"],
        store,
        as_of=MONTH_END + timedelta(days=1),
        since=CANDIDATE_AS_OF,
    )
    rows = rows[rows[EVENT_TIME] < MONTH_END]
    champion, candidate = (_predictor(version, store, folder) for version in (older, newer))
    columns = as_columns({name: rows[name].tolist() for name in champion.inputs}, champion.inputs)
    return MonthApart(
        columns=columns,
        day=np.asarray(rows[EVENT_TIME].dt.day),
        champion=champion.predict_columns(columns),
        candidate=candidate.predict_columns(columns),
        predictor=candidate,
    )


def _trained(as_of: datetime, store: Store) -> Receipt:
    catalog = open_catalog()
    receipt, _ = run_step(train.plan(catalog.model(MODEL), catalog, as_of, store), store)
    return read_receipt(receipt.run_key, store)


def _predictor(trained: Receipt, store: Store, folder: Path) -> Predictor:
    package = folder / trained.run_key[:12]
    package.mkdir()
    return Predictor(fetch_package(trained, store, package))
