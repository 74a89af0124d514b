"""Runs a model's feature code, and checks what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from include.lifecycle.errors import Rejected
from include.lifecycle.model.predictor import BadInput, Columns, as_columns, load_features
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.store.scratch import scratch_folder

FeatureCode = Callable[[Columns], Columns]


def load_feature_code(source: bytes, name: str = "features file") -> FeatureCode:
    """The function `features` in some source text; raises Rejected, with the file's name, for bad code."""
    with scratch_folder("features") as folder:
        file = folder / "features.py"
        file.write_bytes(source)
        try:
            code: FeatureCode = load_features(file)
        except (Exception, SystemExit) as error:
            if isinstance(error, AttributeError) and error.name == "features":
                raise Rejected(f"{name}: define `features(rows)`, returning a dict of arrays") from None
            raise Rejected(f"{name}: mend it: {type(error).__name__}: {error}") from error
    return code


def input_types(model: ModelSpec, datasets: Mapping[str, DatasetSpec]) -> dict[str, str]:
    """Type of each input column, from the dataset that it comes from."""
    types: dict[str, str] = {}
    for name in (model.rows, *(join.dataset for join in model.joins)):
        for column, spec in datasets[name].columns.items():
            types.setdefault(column, spec.type)
    return {name: types[name] for name in model.inputs}


def compute_features(
    code: FeatureCode, rows: pd.DataFrame, inputs: Mapping[str, str], name: str = "features file"
) -> pd.DataFrame:
    """Features of rows, one row each; text columns are categories. Raises Rejected for bad code."""
    try:
        columns = as_columns({name: _plain(rows[name]) for name in inputs}, inputs)
    except BadInput as error:
        raise Rejected(f"{error}: the published table and its YAML differ; restore the column") from None
    try:
        features = code(columns)
    except (Exception, SystemExit) as error:
        raise Rejected(f"{name}: mend it: {type(error).__name__}: {error}") from error
    if not isinstance(features, Mapping) or not features:
        raise Rejected(f"{name}: return a dict of arrays, found {features!r:.80}")
    table = {feature: np.asarray(values) for feature, values in features.items()}
    for feature, values in table.items():
        if (fault := _fault(feature, values, len(rows))) is not None:
            raise Rejected(f"{name}: {feature} {fault}")
    return pd.DataFrame(table, index=rows.index)


def _fault(name: Any, values: npt.NDArray[Any], rows: int) -> str | None:
    """What is wrong with a feature, or None when it is fine."""
    if not isinstance(name, str) or '"' in name or name.startswith("_"):
        return "is no name of a feature; use a text without quotes, and without _ at its beginning"
    if values.ndim != 1:
        return f"has the shape {values.shape}; return one value for each of the {rows} rows"
    if len(values) != rows:
        return f"has {len(values)} values for {rows} rows; return one for each"
    if values.dtype.kind in "OU":
        found = pd.api.types.infer_dtype(values, skipna=True)
        return None if found in ("string", "empty") else f"has {found} as objects; return floats, or texts"
    if values.dtype.kind not in "biuf":
        return f"has the type {values.dtype}; return numbers or texts"
    infinite = int(np.isinf(values).sum())
    return f"is infinite in {infinite} rows; write NaN for what is unknown" if infinite else None


def _plain(column: pd.Series) -> Any:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    return column.to_numpy(dtype=object if column.dtype == object else np.float64)
