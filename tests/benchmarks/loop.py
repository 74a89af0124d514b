"""How much longer is a nightly training through the lifecycle than the same work in a bare script?

`python -m tests.benchmarks.loop` trains as of the end of 2013, with a champion from November: once as
the DAG's tasks do it (plan, train, evaluate, gates, register, propose), once as a script would: the
same rows, features, fits and metrics, logged to the same MLflow. Both in one process, after imports,
as a task that is forked from the scheduler finds them.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import duckdb
import mlflow
import mlflow.xgboost
import pandas as pd
from deltalake import DeltaTable
from mlflow.models.signature import infer_signature
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from xgboost import XGBClassifier

from include.demo.feed import WEATHER_COLUMNS
from include.lifecycle.model.evaluation import Evaluation
from include.lifecycle.model.gates import judge
from include.lifecycle.model.packaging import FILES
from include.lifecycle.model.predictor import Predictor, load_features
from include.lifecycle.model.registry import Registry
from include.lifecycle.release.decisions import Actor, propose, record, settle
from include.lifecycle.release.state import Proposal, fold
from include.lifecycle.spec.catalog import Catalog, open_catalog
from include.lifecycle.spec.model import ModelSpec, parameters_of
from include.lifecycle.steps import evaluate, register, train
from include.lifecycle.steps.planning import plan_training
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store, object_path
from include.lifecycle.store.receipts import Receipt, read_call, read_receipt
from tests.benchmarks.figures import Figure, at_most, print_figures
from tests.benchmarks.year import MODEL, publish_year

CHAMPION_AS_OF, AS_OF = datetime(2013, 11, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC)
ROUNDS = 2
MAX_RATIO = 1.5
DAY = timedelta(days=1)


@dataclass
class Parts:
    """Seconds by part of a run, in the order in which the parts first began."""

    seconds: dict[str, float] = field(default_factory=dict)
    trees: int = 0
    """Trees of the version: equal work has equal numbers."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of a block to a part; a name that is indented is inside the part before."""
        self.seconds.setdefault(name, 0.0)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time added to a part."""

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return wrapper

    @property
    def total(self) -> float:
        """Seconds of all parts that are not inside another."""
        return sum(seconds for name, seconds in self.seconds.items() if not name.startswith(" "))


def main() -> None:
    """Measure, and print the figures."""
    print_figures(run())


def run() -> list[Figure]:
    """Train both ways in turn, several times; compares the fastest of each."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    bare, ours = [], []
    with TemporaryDirectory(prefix="perennial-loop-") as name:
        folder = Path(name)
        _prepare(folder)
        for number in range(ROUNDS):
            copy = Store(str(shutil.copytree(folder / "store", folder / f"store-{number}")))
            _empty_mlflow(folder / f"mlflow-{number}")
            bare.append(_bare(copy))
            ours.append(_lifecycle(copy))
    fastest_bare = min(bare, key=lambda parts: parts.total)
    fastest = min(ours, key=lambda parts: parts.total)
    _print_parts("a bare script", fastest_bare)
    _print_parts("the lifecycle", fastest)
    ratio = fastest.total / fastest_bare.total
    fits = (fastest_bare.seconds["fits"], fastest.seconds["  fits"])
    rest = (fastest_bare.total - fits[0], fastest.total - fits[1])
    same_fits = (fits[0] + rest[1]) / fastest_bare.total
    print(f"\nratio {ratio:.2f}, fastest of {ROUNDS} each; {same_fits:.2f} if the fits took the same time")
    print(f"apart from the fits {rest[0]:.2f} s in the script, {rest[1]:.2f} s in the lifecycle")
    return [at_most("loop: a training, times the bare script", MAX_RATIO, ratio, ".2f")]


def _prepare(folder: Path) -> None:
    """A store with the year's daily partitions and a champion."""
    store = Store(str(folder / "store"))
    publish_year(store)
    _empty_mlflow(folder / "mlflow-champion")
    _lifecycle(store, CHAMPION_AS_OF)
    waiting = fold(Ledger(store, MODEL).entries()).undecided[-1]
    record(Ledger(store, MODEL), settle(waiting, promote=True, why="benchmark"), _actor(AS_OF))


def _empty_mlflow(folder: Path) -> None:
    """An MLflow of its own, which keeps its files below a folder."""
    folder.mkdir()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    for experiment in (MODEL, "bare"):
        mlflow.create_experiment(experiment, artifact_location=str(folder / "artifacts"))


def _lifecycle(store: Store, as_of: datetime = AS_OF) -> Parts:
    """What the tasks of `<model>.train` do, one after the other."""
    catalog, parts, actor = open_catalog(), Parts(), _actor(as_of)
    ledger = Ledger(store, MODEL)
    with _inside(parts):
        with parts.part("plan"):
            planned = plan_training(MODEL, catalog, store, slot=as_of, asked_for=False, actor=actor)
            assert planned.run_key is not None, planned.why
        with parts.part("train"):
            trained, _ = run_step(read_call(planned.run_key, store), store)
            parts.trees = trained.results["trees"]
        with parts.part("evaluate"):
            call = evaluate.plan(read_receipt(trained.run_key, store), fold(ledger.entries()).champion, store)
            evaluated, _ = run_step(call, store)
        with parts.part("gates"):
            evaluated = read_receipt(evaluated.run_key, store)
            evaluation = Evaluation.model_validate(evaluated.results["evaluation"])
            verdict = judge(evaluation, catalog.model(MODEL).gates)
        with parts.part("register"):
            trained = read_receipt(trained.run_key, store)
            registered, _ = run_step(register.plan(trained, evaluated, verdict), store)
        with parts.part("propose"):
            proposal = _proposal(registered)
            record(ledger, propose(proposal, verdict.why), actor)
    return parts


@contextmanager
def _inside(parts: Parts) -> Iterator[None]:
    """Measure what the steps spend their time on."""
    inner = [
        (train, "read_rows", "  rows"),
        (train, "compute_features", "  features"),
        (train, "train", "  fits"),
        (train, "write_package", "  package"),
        (train, "_keep_references", "  drift reference and sample"),
        (evaluate, "_champion_scores", "  champion's scores"),
        (evaluate, "evaluate", "  metrics and intervals"),
        (Registry, "register", "  MLflow"),
    ]
    with ExitStack() as stack:
        for owner, name, part in inner:
            stack.enter_context(patch.object(owner, name, parts.timed(part, getattr(owner, name))))
        yield


def _proposal(registered: Receipt) -> Proposal:
    inputs = registered.call.inputs
    return Proposal(
        version=registered.results["version"],
        run_key=inputs["train"],
        as_of=registered.call.as_of,
        evaluation=inputs["evaluate"],
    )


def _actor(as_of: datetime) -> Actor:
    return Actor(name=f"{MODEL}.train", run_id=f"{MODEL}.train/{as_of:%Y-%m-%d}")


def _bare(store: Store) -> Parts:
    """The same work, as a person would write it in one script."""
    catalog, parts = open_catalog(), Parts()
    model = catalog.model(MODEL)
    with parts.part("rows"):
        rows = _read(store)
    with parts.part("features"):
        features = _features(model, catalog, rows)
    with parts.part("fits"):
        fitted, parts.trees, gate, score = _fit(model, rows, features)
    with parts.part("champion's scores"):
        champion = _champion_scores(store, rows[gate])
    with parts.part("metrics"):
        label = rows.loc[gate, "label"].to_numpy()
        metrics = {
            "trees": parts.trees,
            **_metrics("gate", label, score),
            **_metrics("champion", label, champion),
        }
    with parts.part("MLflow"):
        _log(model, fitted, features, metrics)
    return parts


def _read(store: Store) -> pd.DataFrame:
    db = duckdb.connect()
    # Of a dataset without statistics DuckDB expects one row, and would join by nested loops for minutes.
    db.execute("SET TimeZone = 'UTC'; SET threads = 1; SET asof_loop_join_threshold = 0")
    for table in ("flights", "weather"):
        db.register(table, DeltaTable(store.table_uri(table)).to_pyarrow_dataset())
    rows: pd.DataFrame = db.execute(
        """
        SELECT f.*, w.* EXCLUDE (origin, time_hour), w.time_hour AS weather_hour,
            (f.arr_delay >= 15)::DOUBLE AS label
        FROM flights f ASOF LEFT JOIN weather w
        ON f.origin = w.origin AND f.time_hour - INTERVAL 1 HOUR >= w.time_hour
        WHERE f.arr_delay IS NOT NULL AND f.time_hour <= ?
        ORDER BY f.time_hour, f.flight_id
        """,
        [AS_OF - DAY],
    ).df()
    too_old = rows["weather_hour"] < rows["time_hour"] - pd.Timedelta(hours=4)
    weather = [name for name in WEATHER_COLUMNS if name not in ("origin", "time_hour")]
    rows.loc[too_old, weather] = float("nan")
    return rows


def _features(model: ModelSpec, catalog: Catalog, rows: pd.DataFrame) -> pd.DataFrame:
    """The features of the model's own file; text as pandas' categories."""
    moments = rows["time_hour"].dt.tz_localize(None)
    columns = {name: rows[name].to_numpy() for name in model.inputs} | {"time_hour": moments.to_numpy()}
    features = pd.DataFrame(load_features(catalog.features_path(model))(columns))
    text = features.select_dtypes(object).columns
    return features.astype(dict.fromkeys(text, "category"))


def _fit(
    model: ModelSpec, rows: pd.DataFrame, features: pd.DataFrame
) -> tuple[XGBClassifier, int, pd.Series, Any]:
    """Choose the number of trees, score the gate rows unseen, refit on everything."""
    training, moments, label = model.training, rows["time_hour"], rows["label"]
    gate = moments >= AS_OF - DAY - training.gate
    stop = (moments >= AS_OF - DAY - training.gate - training.stop) & ~gate
    fit = ~gate & ~stop
    settings = {"tree_method": "hist", "enable_categorical": True, "n_jobs": 1, **parameters_of(training)}

    chosen = XGBClassifier(
        n_estimators=training.max_trees, early_stopping_rounds=training.patience, **settings
    ).fit(features[fit], label[fit], eval_set=[(features[stop], label[stop])], verbose=False)
    trees = max(chosen.best_iteration + 1, training.min_trees)
    unseen = XGBClassifier(n_estimators=trees, **settings).fit(features[~gate], label[~gate])
    score = unseen.predict_proba(features[gate])[:, 1]
    return XGBClassifier(n_estimators=trees, **settings).fit(features, label), trees, gate, score


def _champion_scores(store: Store, rows: pd.DataFrame) -> Any:
    """A script would load the champion from a path; here it lies in the store."""
    champion = fold(Ledger(store, MODEL).entries()).champion
    assert champion is not None
    outputs = json.loads(store.get(f"receipts/{champion.run_key}.json") or b"")["receipt"]["outputs"]
    with TemporaryDirectory() as folder:
        for name in FILES:
            (Path(folder) / name).write_bytes(store.get(object_path(outputs[name]["sha256"])) or b"")
        predictor = Predictor(Path(folder))
    return predictor.predict({name: rows[name].tolist() for name in predictor.inputs})


def _metrics(name: str, label: Any, score: Any) -> dict[str, float]:
    return {
        f"{name}_brier": brier_score_loss(label, score),
        f"{name}_log_loss": log_loss(label, score),
        f"{name}_auc": roc_auc_score(label, score),
    }


def _log(model: ModelSpec, fitted: XGBClassifier, features: pd.DataFrame, metrics: dict[str, float]) -> None:
    example = features.tail(5)
    mlflow.set_experiment("bare")
    with mlflow.start_run():
        mlflow.log_params(model.training.parameters)
        mlflow.log_metrics(metrics)
        mlflow.xgboost.log_model(
            fitted,
            name="model",
            signature=infer_signature(example, fitted.predict(example)),
            input_example=example,
            pip_requirements=["xgboost"],
            registered_model_name="bare",
        )


def _print_parts(name: str, parts: Parts) -> None:
    print(f"\n{name:40} {parts.total:8.2f} s  ({parts.trees} trees)")
    for part, seconds in parts.seconds.items():
        print(f"  {part:38} {seconds:8.2f}")


if __name__ == "__main__":
    main()
