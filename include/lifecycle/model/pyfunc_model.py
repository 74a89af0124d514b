"""The version as an MLflow pyfunc, from code: loads anywhere, without pickle, without this library."""

import importlib.util
from pathlib import Path

import mlflow
import pandas as pd


class PackagedModel(mlflow.pyfunc.PythonModel):
    """Answers through the predictor that travels in the version's package."""

    def load_context(self, context):
        """Load the package's own predictor."""
        folder = Path(context.artifacts["package"])
        spec = importlib.util.spec_from_file_location(f"predictor_{id(self)}", folder / "predictor.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.predictor = module.Predictor(folder)

    def predict(self, context, model_input, params=None):
        """Probability of the positive class, one per row."""
        rows = {name: model_input[name].to_numpy() for name in self.predictor.inputs}
        return pd.DataFrame({"probability": self.predictor.predict(rows)})


mlflow.models.set_model(PackagedModel())
