"""The MLflow registry: a version per run key; aliases and tags that follow from the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import requests
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.models.signature import infer_signature

from include.lifecycle.errors import Transient
from include.lifecycle.spec.value import Value

_PYFUNC = Path(__file__).with_name("pyfunc_model.py")
PIN = "data."
"""Tags of this prefix say which version of a dataset a model was trained on."""
_PAGE = 1000
_ANCHOR = "ledger_head"
"""One tag for number and hash: between two, a death would leave what looks like a changed ledger."""


class Registered(Value):
    """A registered version and the run that made it."""

    version: str
    run_id: str
    experiment_id: str


class Registry:
    """The models of one MLflow server (default: the tracking URI that MLflow is set to)."""

    def __init__(self, uri: str | None = None) -> None:
        # MLflow's own patience lasts minutes; a task that Airflow retries need not have it.
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(2)  # type: ignore[no-untyped-call]
        MLFLOW_HTTP_REQUEST_TIMEOUT.set(20)  # type: ignore[no-untyped-call]
        self._client = MlflowClient(tracking_uri=uri)

    def find(self, model: str, run_key: str) -> Registered | None:
        """The version that carries a run key, the first where there are several for a moment, or None."""
        with self._answering():
            found = self._versions_of(model, run_key)
            if not found:
                return None
            run_id = str(found[0].run_id)
            experiment = self._client.get_run(run_id).info.experiment_id
        return Registered(version=str(found[0].version), run_id=run_id, experiment_id=experiment)

    def register(
        self,
        model: str,
        run_key: str,
        package: Path,
        example: pd.DataFrame,
        *,
        description: str,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        documents: Mapping[str, Any],
    ) -> Registered:
        """Log a run with the package and register it; a run key that is registered is found again."""
        if self.find(model, run_key) is None:
            with self._answering():
                mlflow.set_experiment(model)
                with mlflow.start_run(run_name=run_key[:12], tags={**tags, "run_key": run_key}) as run:
                    mlflow.log_params(dict(parameters))
                    mlflow.log_metrics(dict(metrics))
                    for name, document in documents.items():
                        mlflow.log_dict(document, name)
                    info = _log_model(package, example)
                self._create_model(model, description)
                self._client.create_model_version(
                    model,
                    source=info.model_uri,
                    run_id=run.info.run_id,
                    tags={**tags, "run_key": run_key},
                    model_id=info.model_id,
                    description=", ".join(f"{name} {value:.4f}" for name, value in metrics.items()),
                )
        self._remove_later_ones(model, run_key)
        registered = self.find(model, run_key)
        assert registered is not None
        return registered

    def mark_irreproducible(self, model: str, run_key: str, why: str) -> str | None:
        """Tag the version of a training that cannot be repeated any more; None when there is no version."""
        found = self.find(model, run_key)
        if found is None:
            return None
        with self._answering():
            for key, value in {"reproducible": "false", "reproducible_why": why}.items():
                self._client.set_model_version_tag(model, found.version, key, value)
        return found.version

    def pinned_versions(self) -> dict[str, set[int]]:
        """The table versions per dataset that models were trained on, of all versions not archived.

        A version is archived by the tag `archived: true` or the stage Archived.
        """
        pinned: dict[str, set[int]] = {}
        with self._answering():
            for version in self._all_versions():
                if version.tags.get("archived") == "true" or version.current_stage == "Archived":
                    continue
                for tag, value in version.tags.items():
                    if tag.startswith(PIN):
                        pinned.setdefault(tag.removeprefix(PIN), set()).add(int(value))
        return pinned

    def set_aliases(self, model: str, aliases: Mapping[str, str | None]) -> None:
        """Point each alias at its version, or nowhere."""
        with self._answering():
            registered = self._registered(model)
            have = {
                alias: str(version) for alias, version in (registered.aliases if registered else {}).items()
            }
            for alias, version in aliases.items():
                if version is None and alias in have:
                    self._client.delete_registered_model_alias(model, alias)
                elif version is not None and have.get(alias) != version:
                    self._client.set_registered_model_alias(model, alias, version)

    def anchor(self, model: str) -> tuple[int, str] | None:
        """Number and hash of the newest ledger entry that the registry was told of."""
        with self._answering():
            registered = self._registered(model)
        if registered is None or _ANCHOR not in registered.tags:
            return None
        seq, digest = registered.tags[_ANCHOR].split()
        return int(seq), digest

    def set_anchor(self, model: str, seq: int, digest: str) -> None:
        """Remember the newest ledger entry outside the store, once a version is registered."""
        self.set_tags(model, {_ANCHOR: f"{seq} {digest}"})

    def set_tags(self, model: str, tags: Mapping[str, str]) -> None:
        """Give a registered model these tags, beside those that it has; none before a version is there."""
        with self._answering():
            registered = self._registered(model)
            if registered is None:
                return
            for tag, text in tags.items():
                if registered.tags.get(tag) != text:
                    self._client.set_registered_model_tag(model, tag, text)

    def set_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Give a run these metrics; a value that it has already is not logged again."""
        with self._answering():
            have = self._client.get_run(run_id).data.metrics
            for name, value in metrics.items():
                if have.get(name) != value:
                    self._client.log_metric(run_id, name, value)

    def _versions_of(self, model: str, run_key: str) -> list[ModelVersion]:
        """The versions that carry a run key, the first that was made first."""
        found = self._client.search_model_versions(f"name='{model}' and tags.run_key='{run_key}'")
        return sorted(found, key=lambda version: int(version.version))

    def _remove_later_ones(self, model: str, run_key: str) -> None:
        """Of two who register one training at once the later one sees both versions; the first stays."""
        with self._answering():
            for version in self._versions_of(model, run_key)[1:]:
                try:
                    self._client.delete_model_version(model, version.version)
                    self._client.delete_run(str(version.run_id))
                except MlflowException as error:
                    if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                        raise

    def _all_versions(self) -> Iterator[ModelVersion]:
        page = self._client.search_model_versions(max_results=_PAGE)
        yield from page
        while page.token:
            page = self._client.search_model_versions(max_results=_PAGE, page_token=page.token)
            yield from page

    def _registered(self, model: str) -> RegisteredModel | None:
        try:
            return self._client.get_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        return None

    def _create_model(self, model: str, description: str) -> None:
        try:
            self._client.create_registered_model(model, description=description)
        except MlflowException as error:  # RestException, or that of a registry without a server
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (MlflowException, requests.RequestException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise Transient(
                f"MLflow at {mlflow.get_tracking_uri()} did not do it; start it or wait, "
                f"then clear this task: {reason}"
            ) from error


def _log_model(package: Path, example: pd.DataFrame) -> Any:
    answer = pd.DataFrame({"probability": np.zeros(len(example))})
    needs = ["numpy", "pandas"]  # where steps run as pods MLflow is mlflow-skinny
    needs += ["scikit-learn", "skops"] if (package / "estimator.skops").is_file() else ["xgboost"]
    needs += ["onnxruntime"] if (package / "model.onnx").is_file() else []
    return mlflow.pyfunc.log_model(
        name="model",
        python_model=str(_PYFUNC),
        artifacts={"package": str(package)},
        signature=infer_signature(example, answer),
        input_example=example,
        pip_requirements=[f"mlflow=={mlflow.__version__}", *(f"{name}=={installed(name)}" for name in needs)],
    )
