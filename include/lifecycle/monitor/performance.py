"""Joins the prediction log with labels that have become known."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd

from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import Store
from include.lifecycle.store.scan import connect


def prediction_log(model: str, store: Store) -> Table:
    """The Delta table that the server writes a model's predictions to."""
    return Table(store, f"predictions__{model}")


def read_predictions(
    model: str, version: int | None, store: Store, *, start: datetime, end: datetime
) -> pd.DataFrame:
    """Predictions of events in [start, end), each once: the first that was made for a request.

    Columns: `request_id`, `key`, `event_time`, `version`, `arm`, `version_as_of`, `score`, `inputs` (JSON).
    """
    log = None if version is None else prediction_log(model, store).dataset(version)
    columns = "request_id, key, event_time, version, arm, version_as_of, score, inputs"
    if log is None:
        return pd.DataFrame(columns=columns.split(", "))
    with connect() as db:
        db.register("log", log)
        found: pd.DataFrame = db.sql(
            f"SELECT {columns} FROM ("
            'SELECT *, row_number() OVER (PARTITION BY request_id ORDER BY "at") AS _n '
            f"FROM log WHERE epoch_us(event_time) >= {_us(start)} AND epoch_us(event_time) < {_us(end)}) "
            "WHERE _n = 1 ORDER BY event_time, key"
        ).df()
    return found


def read_answers(model: str, store: Store, *, since: datetime) -> pd.DataFrame:
    """Predictions made since an instant, as one followed the other; of a request logged twice the first.

    Columns: `key`, `event_time`, `version`, `version_as_of`, `score`.
    """
    columns = ("key", "event_time", "version", "version_as_of", "score")
    log = prediction_log(model, store).dataset()
    if log is None:
        return pd.DataFrame(columns=columns)
    with connect() as db:
        db.register("log", log)
        first = ", ".join(f'arg_min({name}, "at") AS {name}' for name in columns)
        found: pd.DataFrame = db.sql(
            f'SELECT {first} FROM log WHERE epoch_us("at") >= {_us(since)} AND key IS NOT NULL '
            'GROUP BY request_id ORDER BY min("at"), request_id'
        ).df()
    return found


def made_before_known(predictions: pd.DataFrame, known_after: timedelta) -> pd.DataFrame:
    """Predictions by versions that could not have seen the label, one for each key: the newest."""
    honest = predictions[predictions["version_as_of"] <= predictions["event_time"] + known_after]
    return honest.sort_values("version_as_of").drop_duplicates("key", keep="last")


def skill_and_bias(label: pd.Series, score: pd.Series, base_rate: float) -> tuple[float | None, float]:
    """Brier skill score against the rows' own share of positives, and the bias of the mean.

    BSS = 1 − Brier / (ȳ(1 − ȳ)) (Murphy 1973, J. Applied Meteorology 12); None where all labels are
    equal. The bias is mean(score) − ȳ as a share of the training's base rate.
    """
    mean = float(label.mean())
    brier = float(((score - label) ** 2).mean())
    skill = 1 - brier / (mean * (1 - mean)) if 0 < mean < 1 else None
    return skill, (float(score.mean()) - mean) / base_rate


def _us(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
