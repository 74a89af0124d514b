"""What one version says about the rows of a request."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from include.lifecycle.model.predictor import BadInput
from include.serving.refusals import ModelFailed, Refused, naming_the_field
from include.serving.rows import Rows, check_rows
from include.serving.served import Served


def checked(served: Served, columns: Mapping[str, list[Any]]) -> Rows:
    """The rows as a version takes them, of columns that others may want too; raises Refused."""
    own = {name: columns[name] for name in served.layout.wanted if name in columns}
    with naming_the_field:
        return check_rows(own, served.layout)


def predict(served: Served, rows: Rows) -> list[float]:
    """A version's scores; raises Refused when it does not take the rows, ModelFailed when it breaks."""
    try:
        scores = served.predictor.predict_columns(rows.typed)
    except BadInput as error:
        raise Refused(str(error)) from error
    except Exception as error:
        raise ModelFailed(_failure(served, f"{type(error).__name__}: {error}")) from error
    found: list[float] = scores.tolist()
    if scores.shape != (rows.count,) or not all(map(math.isfinite, found)):
        raise ModelFailed(_failure(served, f"{scores.size} scores for {rows.count} rows, or not finite"))
    return found


def _failure(served: Served, what: str) -> str:
    return f"version {served.release.version} of {served.model} cannot answer these rows: {what}"
