"""Runs a model's feature code, and checks what it returns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from include.lifecycle.errors import Rejected
from include.lifecycle.model.predictor import Columns, as_columns, load_features
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec

FeatureCode = Callable[[Columns], Columns]


def load_feature_code(source: bytes) -> FeatureCode:
    """The function `features` in some source text; raises Rejected when there is none."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "features.py"
        file.write_bytes(source)
        try:
            code: FeatureCode = load_features(file)
        except AttributeError:
            raise Rejected("features file: define `features(rows)`, returning a dict of arrays") from None
        except Exception as error:
            raise Rejected(f"features file: {type(error).__name__}: {error}") from error
    return code


def input_types(model: ModelSpec, datasets: Mapping[str, DatasetSpec]) -> dict[str, str]:
    """Type of each input column, from the dataset that it comes from."""
    types: dict[str, str] = {}
    for name in (model.rows, *(join.dataset for join in model.joins)):
        for column, spec in datasets[name].columns.items():
            types.setdefault(column, spec.type)
    return {name: types[name] for name in model.inputs}


def compute_features(code: FeatureCode, rows: pd.DataFrame, inputs: Mapping[str, str]) -> pd.DataFrame:
    """Features of rows, one row each; text columns are categories. Raises Rejected for bad code."""
    columns = as_columns({name: _plain(rows[name]) for name in inputs}, inputs)
    try:
        features = code(columns)
    except Exception as error:
        raise Rejected(f"features file: {type(error).__name__}: {error}") from error
    for name, values in features.items():
        if len(values) != len(rows):
            raise Rejected(f"features file: {name} has {len(values)} values for {len(rows)} rows")
    return pd.DataFrame(dict(features), index=rows.index)


def _plain(column: pd.Series) -> Any:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    return column.to_numpy(dtype=object if column.dtype == object else np.float64)
