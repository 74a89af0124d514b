"""Imports once, in the scheduler, what its tasks import: their processes are forks of it.

A task that uses Great Expectations and Evidently so starts at once, not after 18 s; where steps run as
pods it is Kubernetes' client. Airflow imports this module in each of its components; the others stay light.
"""

import importlib
import logging
import os
import sys

_LOCAL = os.environ.get("PERENNIAL_PROFILE") in (None, "", "local")
_MODULES = (
    "pandas",
    "pyarrow",
    "deltalake",
    "duckdb",
    "obstore",
    "sklearn",
    "xgboost",
    "onnx",
    "mlflow",
    *(("great_expectations", "evidently.presets") if _LOCAL else ("mlops.operators.pod",)),
    *(f"include.lifecycle.steps.{step}" for step in ("publish", "validate", "extract", "train")),
    *(f"include.lifecycle.steps.{step}" for step in ("evaluate", "register", "measure", "trial", "score")),
    *(
        f"mlops.operators.{verb}"
        for verb in ("ingest", "requeue", "tables", "train", "release", "monitor", "search", "score")
    ),
    "mlops.documentation",
)


def _preload() -> None:
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    for name in _MODULES:
        try:
            importlib.import_module(name)
        except Exception:
            # The steps that need it will say so in their own log; the others still run.
            logging.getLogger(__name__).exception("could not preload %s", name)


if sys.argv[1:2] == ["scheduler"]:
    _preload()

__all__: list[str] = []
