"""Measure: one window of a served version: drift of its inputs, performance on matured labels."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pandas as pd

from include.lifecycle.data.point_in_time import count_labels, read_labels
from include.lifecycle.data.publishing import published_table
from include.lifecycle.model.evaluation import metrics_of
from include.lifecycle.model.predictor import Predictor, as_columns
from include.lifecycle.monitor.drift import Reference, stability
from include.lifecycle.monitor.performance import prediction_log, read_predictions, skill_and_bias
from include.lifecycle.monitor.report import drift_report
from include.lifecycle.monitor.windows import Window
from include.lifecycle.release.state import Proposal
from include.lifecycle.spec.catalog import label_known_after
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.quantities import parse_duration
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.evaluate import load_package, specs_of
from include.lifecycle.steps.running import Work
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, Receipt, read_receipt


def plan(model: ModelSpec, champion: Proposal, end: datetime, store: Store) -> Call:
    """The call that measures the champion in the window that ends at `end`."""
    monitoring = model.monitoring.model_dump(mode="json")
    return Call(
        step="measure",
        spec={"lookback": monitoring["lookback"], "sample": monitoring["sample"]},
        inputs={
            "train": champion.run_key,
            "version": champion.version,
            "rows": published_table(model.rows, store).version(),
            "predictions": prediction_log(model.name, store).version(),
        },
        as_of=end,
        code=code_hash("measure"),
    )


def run(work: Work) -> None:
    """Outputs `report` (HTML, where there are predictions); result `window`."""
    trained = read_receipt(work.call.inputs["train"], work.store)
    model, datasets = specs_of(trained)
    end = work.call.as_of
    start = end - parse_duration(work.call.spec["lookback"])
    known_after = label_known_after(model, datasets[model.rows])
    predictions = read_predictions(
        model.name, work.call.inputs["predictions"], work.store, start=start - known_after, end=end
    )
    known = count_labels(model, datasets[model.rows], work.call.inputs["rows"], work.store, end)
    trained_on = trained.counts["rows"] + trained.counts.get("suppressed", 0)
    window = Window(
        start=start,
        end=end,
        version=work.call.inputs["version"],
        growth=known / trained_on - 1,
        **_performance(work, trained, predictions, start),
        **_drift(work, trained, predictions[predictions["event_time"] >= pd.Timestamp(start)], start),
    )
    work.counts |= {"predictions": window.rows, "labelled": window.labelled}
    work.results["window"] = window.model_dump(mode="json")


def _drift(work: Work, trained: Receipt, served: pd.DataFrame, start: datetime) -> dict[str, Any]:
    """Drift of the features that were served, and the report for people."""
    if served.empty:
        return {}
    features = _served_features(load_package(trained, work), served)
    references = {
        name: Reference.model_validate(item)
        for name, item in json.loads(work.store.read(trained.outputs["reference"])).items()
    }
    sample = pd.read_parquet(work.store.fetch(trained.outputs["sample"], work.folder / "sample.parquet"))
    work.keep("report", drift_report(sample, features, work.call.spec["sample"], work.call.seed))
    covered = work.call.as_of - served["event_time"].min()
    return {
        "rows": len(served),
        "coverage": covered / (work.call.as_of - start),
        "drift": stability(features, references),
        "usual_drift": {name: item.usual for name, item in references.items()},
    }


def _served_features(predictor: Predictor, served: pd.DataFrame) -> pd.DataFrame:
    inputs = pd.DataFrame([json.loads(text) for text in served["inputs"]]).astype(object)
    inputs = inputs.where(inputs.notna(), None)
    columns = as_columns({name: inputs[name].tolist() for name in predictor.inputs}, predictor.inputs)
    return pd.DataFrame(predictor.features(columns))


def _performance(work: Work, trained: Receipt, predictions: pd.DataFrame, start: datetime) -> dict[str, Any]:
    """Metrics over this version's predictions whose label became known in the window.

    Only once the version answered for the whole of it: a few days say more of the weather.
    """
    model, datasets = specs_of(trained)
    rows = datasets[model.rows]
    if trained.call.as_of > start - label_known_after(model, rows):
        return {}
    labels = read_labels(
        model,
        rows,
        work.call.inputs["rows"],
        work.store,
        matured_after=start,
        matured_by=work.call.as_of,
    )
    own = predictions[predictions["version"] == work.call.inputs["version"]]
    joined = labels.merge(own, left_on="_key", right_on="key")
    if joined.empty:
        return {}
    skill, bias = skill_and_bias(joined["_label"], joined["score"], trained.results["base_rate"])
    metrics = metrics_of(joined["_label"].to_numpy(dtype=float), joined["score"].to_numpy())
    return {"labelled": len(joined), "metrics": metrics, "skill": skill, "bias": bias}
