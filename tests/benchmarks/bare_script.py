"""A nightly training as a person would write it in one script, without Perennial."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import mlflow
import mlflow.xgboost
import pandas as pd
from deltalake import DeltaTable
from mlflow.models.signature import infer_signature
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from xgboost import XGBClassifier

from include.demo.feed import WEATHER_COLUMNS
from include.lifecycle.model.packaging import package_of
from include.lifecycle.model.predictor import Predictor, load_features
from include.lifecycle.release.fold import fold
from include.lifecycle.spec.catalog import Catalog, open_catalog
from include.lifecycle.spec.model import ModelSpec, parameters_of
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store, object_path
from tests.benchmarks.parts import Parts
from tests.benchmarks.year import MODEL

DAY = timedelta(days=1)


def run_bare_script(store: Store, as_of: datetime) -> Parts:
    """The same work, as a person would write it in one script."""
    catalog, parts = open_catalog(), Parts()
    model = catalog.model(MODEL)
    with parts.part("rows"):
        rows = _read(store, as_of - DAY)
    with parts.part("features"):
        features = _features(model, catalog, rows)
    with parts.part("fits"):
        fitted, parts.trees, gate, score = _fit(model, rows, features, as_of - DAY)
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


def _read(store: Store, known_until: datetime) -> pd.DataFrame:
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
        [known_until],
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
    model: ModelSpec, rows: pd.DataFrame, features: pd.DataFrame, known_until: datetime
) -> tuple[XGBClassifier, int, pd.Series, Any]:
    """Choose the number of trees, score the gate rows unseen, refit on everything."""
    training, moments, label = model.training, rows["time_hour"], rows["label"]
    gate = moments >= known_until - training.gate
    stop = (moments >= known_until - training.gate - training.stop) & ~gate
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
        for name, output in package_of(outputs).items():
            (Path(folder) / name).write_bytes(store.get(object_path(output["sha256"])) or b"")
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
