"""Three classifiers of scikit-learn's by the same spec, through every step to MLflow and the server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest

from include.lifecycle.errors import SpecError
from include.lifecycle.model.gates import Verdict
from include.lifecycle.model.packaging import fetch_package, package_of
from include.lifecycle.model.predictor import Predictor
from include.lifecycle.release.document import Release, ReleaseDocument, write_release
from include.lifecycle.release.staging import verdict
from include.lifecycle.release.state import Measured
from include.lifecycle.spec.release import ReleasePolicy
from include.lifecycle.steps import evaluate, register, train
from include.lifecycle.steps.planning import plan_training
from include.lifecycle.steps.provenance import RECORDS
from include.lifecycle.steps.running import run_step
from include.lifecycle.steps.staging import measure_apart
from include.lifecycle.store.receipts import Call, Receipt
from tests.lifecycle import tiny
from tests.lifecycle.serving_here import served_here
from tests.lifecycle.tiny import ACTOR, MODEL, Project, midnight
from tests.serving.running import RunningServer, wait_until

LEARNED_BY = {
    "linear": ("sklearn.linear_model.LogisticRegression", "{C: 0.5}"),
    "forest": ("sklearn.ensemble.RandomForestClassifier", "{n_estimators: 15, max_depth: 4}"),
    "boosted": ("sklearn.ensemble.HistGradientBoostingClassifier", "{max_iter: 15, max_depth: 3}"),
}
ROWS = [
    {
        "city": "BER",
        "distance": 700.0,
        "stops": 3,
        "express": True,
        "at": "2024-02-01T08:00:00Z",
        "rain": 0.0,
    },
    {
        "city": "ZRH",
        "distance": 10.0,
        "stops": 0,
        "express": False,
        "at": "2024-02-01T23:00:00Z",
        "rain": 1.5,
    },
    {
        "city": None,
        "distance": None,
        "stops": None,
        "express": None,
        "at": "2024-02-01T08:00:00Z",
        "rain": None,
    },
]
LOAD = """
import sys
import mlflow
import pandas as pd

rows = pd.read_parquet("rows.parquet")
for name in sys.argv[1:]:
    model = mlflow.pyfunc.load_model(f"models:/{name}/1")
    model.predict(rows).to_parquet(f"{name}.parquet")
assert "include" not in sys.modules
assert "xgboost" not in sys.modules
"""
AGAIN = """
import sys
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.objects import open_store
from include.lifecycle.store.receipts import read_call

store = open_store()
for run_key in sys.argv[1:]:
    receipt, adopted = run_step(read_call(run_key, store), store)
    assert not adopted
    print(*(f"{name}={output.sha256}" for name, output in sorted(receipt.outputs.items())))
"""


@dataclass(frozen=True)
class Lives:
    """A project with three models, each trained, evaluated and registered."""

    project: Project
    mlflow_uri: str
    trained: dict[str, Receipt]
    evaluated: dict[str, Receipt]
    registered: dict[str, Receipt]
    untouched: Path
    """A copy of the store from before the trainings."""

    def predictor(self, name: str, folder: Path) -> Predictor:
        """A version as everybody loads it."""
        folder.mkdir(exist_ok=True)
        return Predictor(fetch_package(self.trained[name], self.project.store, folder))


def call_of(project: Project, name: str, day: int = 22) -> Call:
    return train.plan(project.catalog.model(name), project.catalog, midnight(day), project.store)


@pytest.fixture(scope="module")
def lives(template: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    root = tmp_path_factory.mktemp("estimators")
    uri = f"sqlite:///{root}/mlflow.db"
    with pytest.MonkeyPatch.context() as env:
        project = tiny.copy_of(template[0], root / "world", env)
        env.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        trained, evaluated, registered = {}, {}, {}
        for name, (estimator, parameters) in LEARNED_BY.items():
            tiny.learn_by(project, estimator, parameters, name)
            mlflow.create_experiment(name, artifact_location=f"file://{root}/artifacts")
        untouched = shutil.copytree(project.root / "store", root / "untouched")
        for name in LEARNED_BY:
            trained[name] = run_step(call_of(project, name), project.store)[0]
            call = evaluate.plan(trained[name], None, project.store)
            evaluated[name] = run_step(call, project.store)[0]
            call = register.plan(trained[name], evaluated[name], Verdict(passed=True, why="better"))
            registered[name] = run_step(call, project.store)[0]
        yield Lives(project, uri, trained, evaluated, registered, untouched)


@pytest.fixture(params=LEARNED_BY)
def name(request: pytest.FixtureRequest) -> str:
    learned: str = request.param
    return learned


def test_a_version_is_learned_and_measured_as_any_other(lives: Lives, name: str) -> None:
    trained = lives.trained[name]
    package = {"estimator.skops", "features.py", "predictor.json", "predictor.py"}
    assert package == package_of(trained.outputs).keys()
    assert trained.outputs.keys() - package == {"example", "gate", "reference", "sample", *RECORDS}
    assert "trees" not in trained.results
    metrics = lives.evaluated[name].results["evaluation"]["candidate"]
    assert metrics["auc"]["value"] > 0.8
    proposal = tiny.proposal_of(trained, "1")
    measured = measure_apart(trained, proposal, None, lives.project.store, 0, served_here)
    assert isinstance(measured, Measured)
    assert verdict(measured, ReleasePolicy()).passed


def test_a_version_is_compared_with_the_champion_before_it(lives: Lives) -> None:
    """Whose package is loaded to score rows that it never saw."""
    store = lives.project.store
    newer = run_step(call_of(lives.project, "boosted", day=25), store)[0]
    champion = tiny.proposal_of(lives.trained["boosted"], "1")
    evaluation = run_step(evaluate.plan(newer, champion, store), store)[0].results["evaluation"]
    assert evaluation["compared_with"] == "1"
    assert evaluation["compared_rows"] > 0
    assert evaluation["champion"]["auc"]["value"] > 0.8


def test_another_process_makes_the_same_bytes_of_the_same_call(lives: Lives, tmp_path: Path) -> None:
    """Under another hash seed; of models and all else that the step leaves."""
    store = tmp_path / "store"
    shutil.copytree(lives.untouched, store)
    shutil.copytree(lives.project.root / "store/calls", store / "calls", dirs_exist_ok=True)
    shutil.copytree(lives.project.root / "store/objects", store / "objects", dirs_exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, *(receipt.run_key for receipt in lives.trained.values())],
        env={**os.environ, "PERENNIAL_STORE": str(store), "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        " ".join(f"{name}={output.sha256}" for name, output in sorted(receipt.outputs.items()))
        for receipt in lives.trained.values()
    ]


def test_mlflow_knows_estimator_parameters_and_what_a_version_needs(lives: Lives, name: str) -> None:
    found = lives.registered[name].results
    client = mlflow.MlflowClient(lives.mlflow_uri)
    parameters = client.get_run(found["run_id"]).data.params
    assert parameters["estimator"] == LEARNED_BY[name][0]
    assert "trees" not in parameters
    needs = Path(mlflow.pyfunc.get_model_dependencies(f"models:/{name}/{found['version']}")).read_text()
    assert {"numpy", "pandas", "scikit-learn", "skops", "mlflow"} == {
        line.partition("==")[0] for line in needs.splitlines()
    }


def test_mlflow_loads_each_version_without_pickle_and_without_this_library(
    lives: Lives, tmp_path: Path
) -> None:
    rows = pd.DataFrame(ROWS).assign(at=lambda table: pd.to_datetime(table["at"]).dt.tz_localize(None))
    rows = rows.astype({"distance": float, "stops": float, "express": float, "rain": float})
    rows.to_parquet(tmp_path / "rows.parquet")
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", LOAD, *LEARNED_BY],
        cwd=tmp_path,
        env={**env, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_TRACKING_URI": lives.mlflow_uri},
        check=True,
    )
    for name in LEARNED_BY:
        predictor = lives.predictor(name, tmp_path / name)
        answers = pd.read_parquet(tmp_path / f"{name}.parquet")["probability"].to_numpy()
        columns = {column: rows[column].to_numpy() for column in predictor.inputs}
        np.testing.assert_array_equal(answers, predictor.predict(columns))


def test_the_server_answers_with_each(lives: Lives, tmp_path: Path) -> None:
    store = lives.project.store
    for name, trained in lives.trained.items():
        release = Release(
            version="1",
            run_key=trained.run_key,
            as_of=trained.call.as_of,
            package=package_of(trained.outputs),
        )
        write_release(ReleaseDocument(model=name, seq=1, champion=release), store)
    with RunningServer(tmp_path / "home", store.uri) as server:
        wait_until(lambda: httpx.get(f"{server.url}/v2/health/ready").is_success, "all answer")
        for name in LEARNED_BY:
            url = f"{server.url}/models/{name}/invocations"
            reply = httpx.post(url, json={"dataframe_records": ROWS})
            columns = {column: [row[column] for row in ROWS] for column in ROWS[0]}
            expected = lives.predictor(name, tmp_path / name).predict(columns).tolist()
            assert reply.json().get("predictions") == expected, reply.text
            assert len(set(expected)) == 3
            metadata = httpx.get(f"{server.url}/v2/models/{name}").json()
            assert metadata["platform"] == "perennial_sklearn"


def test_another_estimator_is_another_model_and_asks_for_a_training(world: Project, trained: Receipt) -> None:
    tiny.learn_by(world, *LEARNED_BY["linear"], MODEL)
    linear = call_of(world, MODEL)
    tiny.learn_by(world, *LEARNED_BY["boosted"], MODEL)
    world.edit("models/late.yaml", "seed: 3", "seed: 3 ")  # no more than a later time of the file
    fingerprints = {train.fingerprint(call) for call in (trained.call, linear, call_of(world, MODEL))}
    assert len(fingerprints) == 3


def test_a_training_by_an_unknown_estimator_is_not_planned(world: Project) -> None:
    tiny.learn_by(world, "sklearn.ensemble.RandomForrest")
    with pytest.raises(SpecError, match=r"late.yaml: training.estimator: unknown 'sklearn.ensemble.RandomF"):
        plan_training(MODEL, world.catalog, world.store, slot=midnight(25), asked_for=True, actor=ACTOR)
    assert world.ledger.entries() == []
