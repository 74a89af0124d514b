"""MLflow itself, on SQLite in a folder: registering twice, and loading without pickle."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from include.lifecycle.errors import Transient
from include.lifecycle.model.packaging import fetch_package
from include.lifecycle.model.predictor import Predictor
from include.lifecycle.model.registry import Registered, Registry
from include.lifecycle.steps.register import _tags
from include.lifecycle.store.receipts import Receipt, read_receipt
from tests.lifecycle import tiny

LOAD = """
import sys
import mlflow
import pandas as pd

rows = pd.read_parquet(sys.argv[1])
mlflow.pyfunc.load_model("models:/late@champion").predict(rows).to_parquet(sys.argv[2])
assert "include" not in sys.modules
"""


class World:
    """A registry with one version, and the rows to ask it about."""

    def __init__(self, root: Path, trained: Receipt, project: tiny.Project, env: pytest.MonkeyPatch) -> None:
        self.uri = f"sqlite:///{root}/mlflow.db"
        env.setenv("MLFLOW_TRACKING_URI", self.uri)
        mlflow.set_tracking_uri(self.uri)
        mlflow.create_experiment(tiny.MODEL, artifact_location=f"file://{root}/artifacts")
        self.package = root / "package"
        self.package.mkdir(exist_ok=True)
        fetch_package(trained, project.store, self.package)
        self.rows = pd.DataFrame(
            {
                "city": ["BER", "MUC", None, "ZRH"],
                "distance": [700.0, 10.0, np.nan, 500.0],
                "stops": [3.0, 0.0, 1.0, np.nan],
                "express": [1.0, 0.0, np.nan, 1.0],
                "at": pd.to_datetime(["2024-02-01 08:00", "2024-02-01 23:00"] * 2),
                "rain": [0.0, 1.5, np.nan, 2.0],
            }
        )
        self.registry = Registry(self.uri)
        self.run_key = trained.run_key
        self.first = self.register(trained.run_key)

    def register(self, run_key: str) -> Registered:
        return self.registry.register(
            tiny.MODEL,
            run_key,
            self.package,
            self.rows.head(2),
            description="late trips",
            parameters={"max_depth": 3},
            metrics={"gate_auc": 0.9},
            tags={"as_of": "2024-01-22"},
            documents={"gates.json": {"passed": True}},
        )


@pytest.fixture(scope="module")
def mlflow_world(template: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as env:
        project = tiny.enter(template[0], env)
        return World(root, read_receipt(template[1], project.store), project, env)


@pytest.fixture(autouse=True)
def registered(mlflow_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_world.uri)
    mlflow.set_tracking_uri(mlflow_world.uri)


def test_registering_twice_with_one_run_key_gives_one_version(mlflow_world: World) -> None:
    again = mlflow_world.register(mlflow_world.run_key)
    assert again == mlflow_world.first
    client = mlflow.MlflowClient(mlflow_world.uri)
    found = client.search_model_versions(f"name='{tiny.MODEL}' and tags.run_key='{mlflow_world.run_key}'")
    assert [str(version.version) for version in found] == [mlflow_world.first.version]
    assert len(client.search_runs([mlflow_world.first.experiment_id])) == 1


def test_of_two_who_register_one_training_at_once_the_first_version_stays(
    mlflow_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, looked = Registry.find, threading.Barrier(2)

    def find_together(registry: Registry, model: str, run_key: str) -> Registered | None:
        found = find(registry, model, run_key)
        if found is None:
            looked.wait(30)
        return found

    monkeypatch.setattr(Registry, "find", find_together)
    with ThreadPoolExecutor(2) as both:
        one, other = both.map(mlflow_world.register, ["2" * 64] * 2)
    assert one == other
    client = mlflow.MlflowClient(mlflow_world.uri)
    found = client.search_model_versions(f"name='{tiny.MODEL}' and tags.run_key='{'2' * 64}'")
    assert [str(version.version) for version in found] == [one.version]
    client.delete_model_version(tiny.MODEL, one.version)
    client.delete_run(one.run_id)


def test_a_version_is_found_by_its_run_key_alone(mlflow_world: World) -> None:
    assert mlflow_world.registry.find(tiny.MODEL, mlflow_world.run_key) == mlflow_world.first
    assert mlflow_world.registry.find(tiny.MODEL, "0" * 64) is None


def test_the_run_keeps_parameters_metrics_and_documents(mlflow_world: World) -> None:
    client = mlflow.MlflowClient(mlflow_world.uri)
    run = client.get_run(mlflow_world.first.run_id)
    assert run.data.params["max_depth"] == "3"
    assert run.data.metrics["gate_auc"] == 0.9
    assert run.data.tags["run_key"] == mlflow_world.run_key
    assert "gates.json" in {item.path for item in client.list_artifacts(mlflow_world.first.run_id)}


def test_mlflow_loads_the_champion_without_pickle_and_without_this_library(
    mlflow_world: World, tmp_path: Path
) -> None:
    mlflow_world.registry.set_aliases(tiny.MODEL, {"champion": mlflow_world.first.version})
    mlflow_world.rows.to_parquet(tmp_path / "rows.parquet")
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", LOAD, "rows.parquet", "answers.parquet"],
        cwd=tmp_path,
        env={**env, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_TRACKING_URI": mlflow_world.uri},
        check=True,
    )
    answers = pd.read_parquet(tmp_path / "answers.parquet")["probability"].to_numpy()
    predictor = Predictor(mlflow_world.package)
    columns = {name: mlflow_world.rows[name].to_numpy() for name in predictor.inputs}
    np.testing.assert_array_equal(answers, predictor.predict(columns))


def _aliases(client: mlflow.MlflowClient) -> dict[str, str]:
    """The aliases as MLflow's server gives them: SQLite alone gives numbers."""
    found = client.get_registered_model(tiny.MODEL).aliases
    return {alias: str(version) for alias, version in found.items()}


def test_aliases_are_set_moved_and_removed(mlflow_world: World) -> None:
    version, client = mlflow_world.first.version, mlflow.MlflowClient(mlflow_world.uri)
    for _ in range(2):
        mlflow_world.registry.set_aliases(
            tiny.MODEL, {"champion": version, "candidate": version, "previous": None}
        )
        assert _aliases(client) == {"champion": version, "candidate": version}
    mlflow_world.registry.set_aliases(tiny.MODEL, {"candidate": None})
    assert _aliases(client) == {"champion": version}


def test_the_anchor_reads_back(mlflow_world: World) -> None:
    mlflow_world.registry.set_anchor(tiny.MODEL, 7, "f" * 64)
    assert mlflow_world.registry.anchor(tiny.MODEL) == (7, "f" * 64)


def test_tags_of_a_model_are_set_beside_those_that_it_has(mlflow_world: World) -> None:
    registry = mlflow_world.registry
    registry.set_anchor(tiny.MODEL, 3, "f" * 64)
    for cost in ("1.00 EUR", "1.00 EUR", "12.40 EUR"):
        registry.set_tags(tiny.MODEL, {"cost.2026-11": cost})
    tags = mlflow.MlflowClient(mlflow_world.uri).get_registered_model(tiny.MODEL).tags
    assert tags["cost.2026-11"] == "12.40 EUR"
    assert registry.anchor(tiny.MODEL) == (3, "f" * 64)


def test_metrics_that_a_run_has_already_are_not_logged_again(mlflow_world: World) -> None:
    run_id = mlflow_world.first.run_id
    for cost in (0.5, 0.5, 0.7):
        mlflow_world.registry.set_metrics(run_id, {"cost": cost, "cpu_seconds": 12})
    client = mlflow.MlflowClient(mlflow_world.uri)
    assert client.get_run(run_id).data.metrics["cost"] == 0.7
    history = {name: len(client.get_metric_history(run_id, name)) for name in ("cost", "cpu_seconds")}
    assert history == {"cost": 2, "cpu_seconds": 1}


def test_a_model_that_was_never_registered_has_neither_aliases_nor_anchor(mlflow_world: World) -> None:
    registry = mlflow_world.registry
    assert registry.anchor("unknown") is None
    registry.set_aliases("unknown", {"champion": None})
    registry.set_anchor("unknown", 0, "f" * 64)
    registry.set_tags("unknown", {"cost.2026-11": "1.00 EUR"})
    assert registry.anchor("unknown") is None


def test_the_data_of_every_version_that_is_not_archived_are_pinned(
    mlflow_world: World, trained: Receipt
) -> None:
    registry, client = mlflow_world.registry, mlflow.MlflowClient(mlflow_world.uri)
    before = registry.pinned_versions()
    client.create_registered_model("early")
    for rows, more in ((3, {}), (4, {"archived": "true"}), (5, {}), (6, {"archived": "false"})):
        tags = {**_tags(trained), "data.trips": str(rows), "data.sky": "1", **more}
        client.create_model_version("early", source="file:///nowhere", tags=tags)
    client.transition_model_version_stage("early", "3", "Archived")
    assert before == {}
    assert registry.pinned_versions() == {"trips": {3, 6}, "sky": {1}}
    client.delete_model_version("early", "1")
    assert registry.pinned_versions() == {"trips": {6}, "sky": {1}}
    client.delete_registered_model("early")


def test_an_mlflow_that_does_not_answer_is_transient() -> None:
    registry = Registry("http://127.0.0.1:9")
    with pytest.raises(Transient, match="start it or wait"):
        registry.find(tiny.MODEL, "0" * 64)
    with pytest.raises(Transient, match="start it or wait"):
        registry.pinned_versions()
