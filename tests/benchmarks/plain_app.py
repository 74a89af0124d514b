"""The server that people write themselves: FastAPI, XGBoost's `inplace_predict`, and nothing else.

`PLAIN_PACKAGE=<folder> python -m uvicorn tests.benchmarks.plain_app:app` answers one form of MLflow's
protocol: no checks but pydantic's, no log, no metrics, one version.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import xgboost
from fastapi import FastAPI
from pydantic import BaseModel

_FOLDER = Path(os.environ["PLAIN_PACKAGE"])
_FEATURES = list(json.loads((_FOLDER / "predictor.json").read_text())["features"])
_BOOSTER = xgboost.Booster({"nthread": 1}, model_file=str(_FOLDER / "booster.ubj"))

app = FastAPI()


class Rows(BaseModel):
    """The rows of a request."""

    dataframe_records: list[dict[str, float | None]]


class Predictions(BaseModel):
    """The answer to them."""

    predictions: list[float]


@app.get("/ping")
async def ping() -> dict[str, bool]:
    """Whether it serves."""
    return {"live": True}


@app.post("/invocations")
async def invocations(rows: Rows) -> Predictions:
    """One probability for each row."""
    table = [[row.get(name) for name in _FEATURES] for row in rows.dataframe_records]
    return Predictions(predictions=_BOOSTER.inplace_predict(np.array(table, dtype=np.float64)).tolist())
