"""Compiled trees beside the trained ones: alike on any row, or not used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost

from include.lifecycle.model import packaging
from include.lifecycle.model.fitted import Fitted
from include.lifecycle.model.matrix import encoded
from include.lifecycle.model.onnx_file import NotCompiled, onnx_of
from include.lifecycle.model.packaging import compile_trees, write_package
from include.lifecycle.model.parity import BOUND, Parity, judge
from include.lifecycle.model.predictor import Predictor

KINDS = {"held-out", "missing", "unseen", "border"}
CODE = b"features = dict\n"


def table(categories: int = 0) -> pd.DataFrame:
    """Two numbers and, where it has categories, a text; some of each are missing."""
    draw = np.random.default_rng(1)
    rows = pd.DataFrame(draw.normal(size=(800, 2)).round(1), columns=["rain", "wind"])
    if categories:
        names = np.array([f"c{code:03}" for code in range(categories)], dtype=object)
        rows["city"] = names[draw.integers(0, categories, 800)]
    return rows.mask(draw.random(rows.shape) < 0.1, np.nan if not categories else None)


def fitted_on(rows: pd.DataFrame, trees: int = 20, **parameters: Any) -> Fitted:
    texts = [name for name in rows if name == "city"]
    categories = {name: sorted(rows[name].dropna().unique()) for name in texts}
    categories |= dict.fromkeys([name for name in rows if name not in texts])
    matrix = encoded(rows, categories)
    label = np.nan_to_num(matrix[:, 0]) % 3 + np.nan_to_num(matrix[:, -1]) > 0.5
    kinds = ["c" if known else "q" for known in categories.values()]
    given = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, **parameters}
    data = xgboost.QuantileDMatrix(matrix, label=label, feature_types=kinds)
    return Fitted(xgboost.train(given, data, trees), categories)


def package(folder: Path, fitted: Fitted, rows: pd.DataFrame) -> Parity:
    inputs = {name: "string" if known else "number" for name, known in fitted.categories.items()}
    write_package(folder, fitted, CODE, inputs=inputs, key="id", event_time="at")
    return compile_trees(folder, fitted, [rows], seed=1)[1]


def as_lists(rows: pd.DataFrame) -> dict[str, list[Any]]:
    return {name: rows[name].tolist() for name in rows}


@pytest.mark.parametrize("categories", [0, 3, 90])
def test_compiled_trees_answer_as_the_trained_ones_on_any_row(tmp_path: Path, categories: int) -> None:
    rows = table(categories)
    fitted = fitted_on(rows)
    parity = package(tmp_path, fitted, rows)
    assert parity.passed
    assert parity.largest.keys() == KINDS
    assert max(parity.largest.values()) <= BOUND
    odd = pd.concat([rows, rows.assign(rain=None), rows.assign(**dict.fromkeys(rows, None))])
    odd = pd.concat([odd, rows.assign(city="nowhere")]) if categories else odd
    expected = fitted.classifier.inplace_predict(encoded(odd, fitted.categories))
    np.testing.assert_allclose(Predictor(tmp_path).predict(as_lists(odd)), expected, rtol=0, atol=BOUND)
    singly = [Predictor(tmp_path).predict(as_lists(odd[at : at + 1]))[0] for at in range(0, len(odd), 200)]
    np.testing.assert_allclose(singly, expected[::200], rtol=0, atol=BOUND)


def test_the_same_trees_are_compiled_to_the_same_bytes() -> None:
    one, other = (fitted_on(table(5)).classifier for _ in range(2))
    assert onnx_of(one) == onnx_of(other)


@pytest.mark.parametrize("parameters", [{"gamma": 1e9}, {"gamma": 2.0}, {"grow_policy": "lossguide"}])
def test_trees_of_any_shape_are_compiled(tmp_path: Path, parameters: dict[str, Any]) -> None:
    assert package(tmp_path, fitted_on(table(5), **parameters), table(5)).passed


@pytest.mark.parametrize("parameters", [{"booster": "dart"}, {"objective": "reg:squarederror"}])
def test_what_is_no_forest_of_probabilities_is_not_compiled(
    tmp_path: Path, parameters: dict[str, Any]
) -> None:
    fitted = fitted_on(table(), 3, **parameters)
    with pytest.raises(NotCompiled, match="only trees"):
        onnx_of(fitted.classifier)
    assert "only trees" in package(tmp_path, fitted, table()).reason
    assert not (tmp_path / "model.onnx").exists()


def another_model(booster: xgboost.Booster) -> bytes:
    return onnx_of(fitted_on(table(40), 19).classifier)


def no_model(booster: xgboost.Booster) -> bytes:
    return b"no model"


@pytest.mark.parametrize(("wrong", "words"), [(another_model, "differ by"), (no_model, "cannot be asked")])
def test_wrong_trees_are_refused_and_xgboost_answers_instead(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Callable[[xgboost.Booster], bytes],
    words: str,
) -> None:
    monkeypatch.setattr(packaging, "onnx_of", wrong)
    rows = table(40)
    fitted = fitted_on(rows)
    parity = package(tmp_path, fitted, rows)
    assert not parity.passed
    assert words in parity.reason
    assert not (tmp_path / "model.onnx").exists()
    answers = Predictor(tmp_path).predict(as_lists(rows))
    assert answers.tolist() == fitted.classifier.inplace_predict(encoded(rows, fitted.categories)).tolist()


def test_a_difference_on_one_kind_of_rows_is_enough_to_refuse() -> None:
    rows = [("held-out", np.zeros((9, 1))), ("missing", np.full((1, 1), np.nan))]

    def trained(matrix: Any) -> Any:
        return np.zeros(len(matrix))

    def wrong_when_missing(matrix: Any) -> Any:
        return np.isnan(matrix[:, 0]) * 1e-5

    parity = judge(rows, trained, wrong_when_missing)
    assert not parity.passed
    assert parity.reason.startswith("missing rows: the compiled trees differ by 1e-05")
    assert parity.largest == {"held-out": 0.0, "missing": 1e-5}
    assert judge(rows, trained, trained).passed
    assert not judge(rows, trained, lambda matrix: matrix[:, 0]).passed  # NaN
    assert not judge([], trained, trained).passed


def test_a_package_without_compiled_trees_or_runtime_answers_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = table(5)
    assert package(tmp_path, fitted_on(rows), rows).passed
    compiled = Predictor(tmp_path).predict(as_lists(rows))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    without_runtime = Predictor(tmp_path).predict(as_lists(rows))
    monkeypatch.undo()
    (tmp_path / "model.onnx").unlink()
    without_file = Predictor(tmp_path).predict(as_lists(rows))
    assert without_runtime.tolist() == without_file.tolist()
    np.testing.assert_allclose(compiled, without_file, rtol=0, atol=BOUND)
    assert compiled.tolist() != without_file.tolist()
