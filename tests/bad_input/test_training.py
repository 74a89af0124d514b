"""Trainings that cannot succeed: the reason and the cure are told, and the lease is free again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from include.lifecycle.errors import Rejected
from include.lifecycle.model.features import compute_features, load_feature_code
from include.lifecycle.model.training import train
from include.lifecycle.model.training_set import InMemory
from include.lifecycle.spec.model import Training
from tests.bad_input import tasks
from tests.bad_input.project import Project, refused


def test_a_label_that_never_matures_names_column_and_file(project: Project, control: Project) -> None:
    project.specify("column: delay", "column: refund")
    with (
        project.unharmed(failed=1),
        refused(
            Rejected,
            "late: no row of trips has a label that had matured at 2024-03-09",
            "refund is empty or known_after is too long; check trips.yaml",
        ),
    ):
        tasks.train("no label")
    assert project.state().lease is None
    project.train_as(control, "after no label", seed=30)


def test_a_training_set_with_one_class_names_the_keys_to_check(project: Project, control: Project) -> None:
    project.specify("at_least: 10}", "at_least: 100000}")
    with (
        project.unharmed(failed=1),
        refused(
            Rejected,
            "late.yaml: training: every label of the fit span is 0",
            "check label.column and label.at_least",
        ),
    ):
        tasks.train("one class")
    assert project.state().lease is None
    project.train_as(control, "after one class", seed=31)


def test_a_gate_span_with_one_class_is_refused_before_its_metrics_are_nothing() -> None:
    hours = pd.date_range("2024-03-01", periods=240, freq="h", tz="UTC")
    rows = pd.DataFrame({"_key": hours.astype(str), "_event_time": hours, "_label": np.arange(240) % 2.0})
    rows.loc[hours >= pd.Timestamp("2024-03-09", tz="UTC"), "_label"] = 1.0
    policy = Training.model_validate({"stop": "2d", "gate": "2d", "max_trees": 2})
    with pytest.raises(Rejected, match=r"every label of the gate span is 1.* lengthen training.gate"):
        train(policy, InMemory(rows, pd.DataFrame({"x": np.arange(240.0)})), hours[-1].to_pydatetime())


def test_features_that_fail_name_their_file_and_free_the_lease(project: Project, control: Project) -> None:
    project.specify(seed=32)
    (project.specs / "models/late.py").write_text("def features(rows):\n    return {'a': rows['tolls']}\n")
    with project.unharmed(failed=1), refused(Rejected, "late.py: mend it: KeyError: 'tolls'"):
        tasks.train("features")
    project.train_as(control, "after features", seed=32)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("max_dept: 2", 'training.parameters: XGBoost does not know "max_dept"; mend the name'),
        ("max_depth: deep", "XGBoost refuses (Invalid Parameter format for max_depth"),
        ("n_jobs: 2", "XGBoost refuses"),
    ],
)
def test_a_wrong_parameter_is_refused_with_the_words_of_xgboost(
    project: Project, parameters: str, words: str
) -> None:
    project.specify("max_depth: 2, learning_rate: 0.3", parameters)
    with project.unharmed(failed=1), refused(Rejected, "late.yaml", words, "parameters"):
        tasks.train(parameters)


ROWS = pd.DataFrame({"zone": ["north", None, "south"], "distance": [1.0, 2.0, np.nan]})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise RuntimeError('boom')", "mend it: RuntimeError: boom"),
        ("import sys; sys.exit(3)", "mend it: SystemExit: 3"),
        ("pass", "return a dict of arrays, found None"),
        ("return {}", "return a dict of arrays, found {}"),
        ("return [rows['distance']]", "return a dict of arrays, found ["),
        ("return {'a': rows['distance'][:-1]}", "a has 2 values for 3 rows"),
        ("return {'a': 1.0}", "a has the shape (); return one value for each of the 3 rows"),
        ("return {'a': rows['distance'].reshape(3, 1)}", "a has the shape (3, 1)"),
        ("return {'a': rows['distance'] / 0}", "a is infinite in 2 rows; write NaN for what is unknown"),
        (
            "return {'a': rows['distance'].astype('M8[s]')}",
            "a has the type datetime64[s]; return numbers or texts",
        ),
        (
            "return {'a': rows['distance'].astype(object)}",
            "a has floating as objects; return floats, or texts",
        ),
        ("return {1: rows['distance']}", "1 is no name of a feature"),
        ("return {'_label': rows['distance']}", "_label is no name of a feature"),
    ],
)
def test_features_that_no_model_can_use_are_refused(body: str, words: str) -> None:
    code = load_feature_code(f"def features(rows):\n    {body}\n".encode(), "late.py")
    with pytest.raises(Rejected) as caught:
        compute_features(code, ROWS, {"zone": "string", "distance": "number"}, "late.py")
    assert f"late.py: {words}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"def feature(rows):\n    pass\n", "define `features(rows)`, returning a dict of arrays"),
        (
            b"import numpy\nnumpy.nothing\n",
            "mend it: AttributeError: module 'numpy' has no attribute 'nothing'",
        ),
        (b"def features(rows)\n", "mend it: SyntaxError: expected ':'"),
        (b"import nothing_like_this\n", "mend it: ModuleNotFoundError: No module named 'nothing_like_this'"),
        (bytes(range(256)), "mend it: SyntaxError"),
        (b"import sys\nsys.exit(3)\n", "mend it: SystemExit: 3"),
    ],
)
def test_a_features_file_that_is_no_features_file_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(Rejected) as caught:
        load_feature_code(text, "late.py")
    assert f"late.py: {words}" in str(caught.value)


def test_features_without_text_and_with_truth_values_train(project: Project) -> None:
    project.specify(seed=33)
    (project.specs / "models/late.py").write_text(
        "def features(rows):\n    return {'far': rows['distance'] > 20, 'seats': rows['seats']}\n"
    )
    assert tasks.gate("numbers", tasks.train("numbers"))["verdict"]["passed"]
