"""By what predictions are measured against labels."""

from __future__ import annotations

from typing import Literal

Metric = Literal["brier", "log_loss", "auc"]
HIGHER_IS_BETTER: frozenset[Metric] = frozenset({"auc"})
