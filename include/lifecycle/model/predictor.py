"""Answers with a packaged version: its own feature code, its categories, its classifier.

This file travels inside every version, so that a version loads without this library: it imports
nothing but numpy, and XGBoost, ONNX Runtime or skops with scikit-learn. A package is a folder with

    predictor.json     inputs with their types, features with their categories, and the names of the
                       columns that identify a row (`key`) and say when it happened (`event_time`)
    features.py        `features(rows)`, the model's own code
    booster.ubj        the trees of XGBoost, and
    model.onnx         the same compiled, where they were found to answer alike, or
    estimator.skops    the classifier of scikit-learn's
    predictor.py       this file
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Columns = Mapping[str, npt.NDArray[Any]]
Classifier = Callable[[npt.NDArray[np.float64]], npt.NDArray[Any]]

_OUTPUTS = ["score"]
_MASKED_CATEGORIES = 32
"""A set of so many categories ONNX Runtime tests as one mask, a greater one value by value."""
_FEW_ROWS = 16
"""Of so many rows compiled trees with greater sets are quicker: XGBoost takes 200 µs for any call."""

TRUSTED = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)
"""Types that a classifier is made of and that skops does not trust by itself; it refuses all others."""


class BadInput(ValueError):
    """A request that the model cannot answer; the message names the field."""


class Predictor:
    """One version of a model, ready to answer."""

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        folder = Path(folder)
        layout = json.loads((folder / "predictor.json").read_text(encoding="utf-8"))
        self.inputs: dict[str, str] = layout["inputs"]
        self.key: str = layout["key"]
        self.event_time: str = layout["event_time"]
        self.features = load_features(folder / "features.py")
        self._codes = codes_of(layout["features"])
        estimator = folder / "estimator.skops"
        self.library = "sklearn" if estimator.is_file() else "xgboost"
        if estimator.is_file():
            self._classify = load_estimator(estimator)
        else:
            categories = max(len(known or ()) for known in self._codes.values())
            self._classify = _load_trees(folder, threads, categories)

    def predict(self, rows: Mapping[str, Sequence[Any]]) -> npt.NDArray[np.float64]:
        """Probabilities of the positive class, one per row; raises BadInput naming the field."""
        return self.predict_columns(as_columns(rows, self.inputs))

    def predict_columns(self, columns: Columns) -> npt.NDArray[np.float64]:
        """The same for columns that have their types already."""
        matrix = encode(self.features(columns), self._codes)
        return np.asarray(self._classify(matrix), dtype=np.float64)


def _load_trees(folder: Path, threads: int, categories: int) -> Classifier:
    """The compiled trees where they are there and can run; XGBoost's otherwise, or where it is quicker."""
    file = folder / "model.onnx"
    if threads > 1 or not file.is_file() or importlib.util.find_spec("onnxruntime") is None:
        return _load_booster(folder, threads)
    compiled = load_compiled(file)
    if categories <= _MASKED_CATEGORIES:
        return compiled
    booster = _load_booster(folder, threads)
    return lambda matrix: (compiled if len(matrix) <= _FEW_ROWS else booster)(matrix)


def _load_booster(folder: Path, threads: int) -> Classifier:
    import xgboost

    booster = xgboost.Booster({"nthread": threads}, model_file=str(folder / "booster.ubj"))
    answer: Classifier = booster.inplace_predict
    return answer


def load_compiled(file: Path) -> Classifier:
    """Compiled trees, on one thread as a single row wants it; they compare as float32, as XGBoost does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Both keep memory for ever, what the greatest request took and a plan for each number of rows.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def answer(matrix: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        with np.errstate(over="ignore"):  # beyond float32 a number is infinite to the trees
            features = np.ascontiguousarray(matrix, dtype=np.float32)
        found: npt.NDArray[Any] = session.run(_OUTPUTS, {"features": features})[0]
        return found[:, 0]

    return answer


def load_estimator(file: Path) -> Classifier:
    """What gives the probabilities; raises TypeError when the file holds a type that is not TRUSTED."""
    from skops.io import load

    estimator = load(file, trusted=TRUSTED)
    return lambda matrix: estimator.predict_proba(matrix)[:, 1]


class _SourceOnly(importlib.machinery.SourceFileLoader):
    """Leaves no bytecode beside the source: a package holds its own files and nothing else."""

    def set_data(self, path: Any, data: Any, *, _mode: int = 0o666) -> None:
        """Write nothing."""


def load_features(file: Path) -> Any:
    """The function `features` of a file, loaded under a name that depends on its content."""
    name = f"features_{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, file, loader=_SourceOnly(name, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.features


def as_columns(rows: Mapping[str, Sequence[Any]], inputs: Mapping[str, str]) -> Columns:
    """Give each input its type: numbers as float64 (missing: NaN), timestamps as datetime64[us] in
    UTC (missing: NaT), text as objects (missing: None). Raises BadInput naming the field."""
    columns = {}
    for name, kind in inputs.items():
        if name not in rows:
            raise BadInput(f"{name}: missing; the model needs {', '.join(inputs)}")
        try:
            columns[name] = _as_type(rows[name], kind)
        except (TypeError, ValueError, OverflowError) as error:
            raise BadInput(f"{name}: not a {kind}: {error}") from None
    return columns


def _as_type(values: Sequence[Any], kind: str) -> npt.NDArray[Any]:
    if kind == "timestamp":
        if isinstance(values, np.ndarray) and values.dtype.kind == "M":
            return values.astype("datetime64[us]")
        return np.array([_instant(value) for value in values], dtype="datetime64[us]")
    if kind == "string":
        texts = np.empty(len(values), dtype=object)
        texts[:] = [_text(value) for value in values]
        return texts
    return np.asarray(values, dtype=np.float64)


def _instant(value: Any) -> np.datetime64:
    text = str(value) if value is not None else "NaT"
    return np.datetime64(text.removesuffix("Z").removesuffix("+00:00"), "us")


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if value != value:  # NaN is how pandas writes a missing text
        return None
    raise TypeError(f"found {type(value).__name__}")


def codes_of(features: Mapping[str, Sequence[str] | None]) -> dict[str, dict[str, int] | None]:
    """The code of each category by feature; None for a number."""
    return {
        name: None if categories is None else {value: code for code, value in enumerate(categories)}
        for name, categories in features.items()
    }


def encode(features: Columns, codes: Mapping[str, Mapping[str, int] | None]) -> npt.NDArray[np.float64]:
    """Features as a matrix (rows × features); a category the training never saw counts as missing."""
    columns = [
        features[name] if categories is None else [categories.get(value, np.nan) for value in features[name]]
        for name, categories in codes.items()
    ]
    # The quickest way there is for a single row.
    return np.ascontiguousarray(np.array(columns, dtype=np.float64).T)
