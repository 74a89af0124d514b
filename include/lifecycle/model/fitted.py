"""A classifier that has learned, and how it is asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import ClassifierMixin
from xgboost import Booster

from include.lifecycle.model.matrix import Categories, encoded


@dataclass(frozen=True)
class Fitted:
    """A classifier, and the categories by which its features are encoded."""

    classifier: Booster | ClassifierMixin
    categories: Categories

    def predict(self, features: pd.DataFrame, trees: int = 0) -> npt.NDArray[np.float64]:
        """Probabilities of the positive class, one per row; of XGBoost by the first so many trees (0: by
        all)."""
        matrix = encoded(features, self.categories)
        if isinstance(self.classifier, Booster):
            scores = self.classifier.inplace_predict(matrix, iteration_range=(0, trees))
        else:
            scores = self.classifier.predict_proba(matrix)[:, 1]
        return np.asarray(scores, dtype=np.float64)
