"""Turns a trained version into files that load anywhere, without pickle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import pandas as pd
from xgboost import Booster

from include.lifecycle.model import predictor
from include.lifecycle.model.fitted import Fitted
from include.lifecycle.model.onnx_file import NotCompiled, onnx_of
from include.lifecycle.model.parity import Parity, judge, rows_to_compare
from include.lifecycle.model.skops_file import write_estimator
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt

Kept = TypeVar("Kept")
_COMPILED = "model.onnx"
_FILES = ("booster.ubj", "estimator.skops", "features.py", _COMPILED, "predictor.json", "predictor.py")
"""A classifier is either XGBoost's, compiled where that answers alike, or scikit-learn's."""


def write_package(
    folder: Path,
    fitted: Fitted,
    features_code: bytes,
    *,
    inputs: Mapping[str, str],
    key: str,
    event_time: str,
) -> list[Path]:
    """Write a version's files (see :mod:`include.lifecycle.model.predictor`) and return them."""
    layout = {
        "inputs": dict(inputs),
        "key": key,
        "event_time": event_time,
        "features": dict(fitted.categories),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "predictor.json").write_text(json.dumps(layout, indent=1), encoding="utf-8")
    (folder / "features.py").write_bytes(features_code)
    (folder / "predictor.py").write_bytes(Path(predictor.__file__).read_bytes())
    if isinstance(fitted.classifier, Booster):
        fitted.classifier.save_model(folder / "booster.ubj")
    else:
        write_estimator(fitted.classifier, folder / "estimator.skops")
    return [file for name in _FILES if (file := folder / name).is_file()]


def compile_trees(
    folder: Path, fitted: Fitted, held_out: Iterable[pd.DataFrame], seed: int
) -> tuple[Path | None, Parity]:
    """Write the trees compiled beside a package's files, where they answer as the trained ones do.

    `held_out` are rows with their features. Returns the file, or None, and the verdict.
    """
    assert isinstance(fitted.classifier, Booster)
    file = folder / _COMPILED
    try:
        file.write_bytes(onnx_of(fitted.classifier))
        compiled = predictor.load_compiled(file)
        parity = judge(rows_to_compare(fitted, held_out, seed), fitted.classifier.inplace_predict, compiled)
    except NotCompiled as error:
        parity = Parity(passed=False, reason=str(error))
    except Exception as error:  # whatever ONNX Runtime does not take, XGBoost still answers
        parity = Parity(passed=False, reason=f"the compiled trees cannot be asked: {error}")
    if parity.passed:
        return file, parity
    file.unlink(missing_ok=True)
    return None, parity


def package_of(outputs: Mapping[str, Kept]) -> dict[str, Kept]:
    """Those outputs of a training that are the files of its package, by file name."""
    return {name: outputs[name] for name in _FILES if name in outputs}


def fetch_package(trained: Receipt, store: Store, folder: Path) -> Path:
    """The folder, with the files of a training's package; raises Tampered when they were changed."""
    for name, output in package_of(trained.outputs).items():
        store.fetch(output, folder / name)
    return folder
