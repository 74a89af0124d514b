"""Classifiers of scikit-learn's: which may be named, what each needs of its matrix, how it is fitted."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import parallel_config
from sklearn.base import ClassifierMixin
from sklearn.utils import all_estimators, get_tags
from threadpoolctl import threadpool_limits

from include.lifecycle.errors import Rejected, SpecError
from include.lifecycle.spec.model import XGBOOST, ModelSpec, Training
from include.lifecycle.spec.nearest import nearest
from include.lifecycle.spec.profile import open_profile

_KEEP_ROWS = {
    "GaussianProcessClassifier",
    "KNeighborsClassifier",
    "LabelPropagation",
    "LabelSpreading",
    "NuSVC",
    "RadiusNeighborsClassifier",
    "SVC",
}
_SET_ELSEWHERE = {
    "random_state": "training.seed sets it",
    "n_jobs": "compute.train.cpu sets it, and the profile's threads",
}


def check_estimator(model: ModelSpec) -> None:
    """Raise SpecError unless the estimator is there, knows its parameters and gives probabilities.

    What XGBoost does not know it says itself, in training.
    """
    if model.training.is_xgboost:
        return
    if (fault := _fault(model.training)) is not None:
        raise SpecError(f"{model.name}.yaml: training.{fault}")


def build_estimator(training: Training, categories: int, numbers: int) -> Any:
    """An unfitted classifier of a matrix of floats: so many codes of categories, then so many numbers.

    Where it takes no missing values the codes become a column for each category, numbers are scaled,
    and a missing one becomes the median. A missing category is one of its own.
    """
    classifier = _classifiers()[training.estimator](**training.parameters)
    if "random_state" in classifier.get_params():
        classifier.set_params(random_state=training.seed)
    takes = get_tags(classifier).input_tags
    if takes.allow_nan:
        return classifier
    return _prepared(classifier, categories, numbers, sparse=takes.sparse)


def _prepared(classifier: Any, categories: int, numbers: int, sparse: bool) -> Any:
    # Imported late: a training of XGBoost's, a pod's most often, does without.
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=sparse)
    scaled = Pipeline(
        [("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())]
    )
    places = list(range(categories + numbers))
    columns = [("categories", one_hot, places[:categories]), ("numbers", scaled, places[categories:])]
    return Pipeline([("prepare", ColumnTransformer(columns)), ("classify", classifier)])


def fit_estimator(
    classifier: Any, training: Training, matrix: npt.NDArray[np.float64], label: pd.Series
) -> Any:
    """The classifier, fitted on the profile's threads; raises Rejected for parameters that it refuses."""
    threads = open_profile().threads
    try:
        # A context, and no parameter n_jobs: that would be part of the version, and answer on threads.
        with parallel_config("threading", n_jobs=threads), threadpool_limits(threads):
            return classifier.fit(matrix, label)
    except (TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise Rejected(
            f"training: {training.estimator} refuses ({reason}); change training.parameters, or choose "
            "another estimator"
        ) from error


def _fault(training: Training) -> str | None:
    """What is wrong with estimator and parameters, after their key; None when nothing is."""
    found, parameters = _classifiers().get(training.estimator), training.parameters
    if found is None:
        return f"estimator: unknown {training.estimator!r}{nearest(training.estimator, _names())}"
    if found.__name__ in _KEEP_ROWS:
        return (
            f"estimator: {training.estimator} keeps rows that it learned from, and nobody could be erased "
            f"from it; choose another, such as {XGBOOST}"
        )
    known = inspect.signature(found).parameters.keys() - _SET_ELSEWHERE.keys()
    for name in parameters:
        if name in _SET_ELSEWHERE:
            return f"parameters.{name}: {_SET_ELSEWHERE[name]}; remove it"
        if name not in known:
            return f"parameters: unknown {name!r} of {training.estimator}{nearest(name, known)}"
    if not hasattr(found(**parameters), "predict_proba"):
        return (
            f"estimator: {training.estimator} gives no probabilities with these parameters; choose others, "
            "or another estimator"
        )
    return None


@cache
def _classifiers() -> dict[str, type[ClassifierMixin]]:
    """The classifiers that need no other estimator, by the name with which people import them."""
    return {
        f"{found.__module__.partition('._')[0]}.{name}": found
        for name, found in all_estimators("classifier")
        if all(item.default is not item.empty for item in inspect.signature(found).parameters.values())
    }


def _names() -> list[str]:
    return [XGBOOST, *_classifiers()]
