"""Measure: one window of a served version: drift of its inputs, performance on matured labels."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from include.lifecycle.data.point_in_time import read_labels
from include.lifecycle.data.publishing import published_table
from include.lifecycle.model.evaluation import Evaluation, evaluate
from include.lifecycle.model.predictor import as_columns
from include.lifecycle.monitor.drift import Reference, stability
from include.lifecycle.monitor.performance import prediction_log, read_predictions
from include.lifecycle.monitor.report import drift_report
from include.lifecycle.monitor.windows import Window
from include.lifecycle.release.state import Proposal
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
            "evaluation": champion.evaluation,
            "rows": published_table(model.rows, store).version(),
            "predictions": prediction_log(model.name, store).version(),
        },
        as_of=end,
        code=code_hash("measure"),
    )


def run(work: Work) -> None:
    """Outputs `report` (HTML, where there are predictions); result `window`."""
    trained = read_receipt(work.call.inputs["train"], work.store)
    start = work.call.as_of - parse_duration(work.call.spec["lookback"])
    predictions = read_predictions(
        specs_of(trained)[0].name,
        work.call.inputs["predictions"],
        work.store,
        start=start - timedelta(days=31),
        end=work.call.as_of,
    )
    window = Window(
        start=start,
        end=work.call.as_of,
        version=work.call.inputs["version"],
        rows=0,
        **_performance(work, trained, predictions, start),
    )
    served = predictions[predictions["event_time"] >= pd.Timestamp(start)]
    if len(served):
        window = window.model_copy(update={"rows": len(served), **_drift(work, trained, served)})
    work.counts |= {"predictions": window.rows, "labelled": window.labelled}
    work.results["window"] = window.model_dump(mode="json")


def _drift(work: Work, trained: Receipt, served: pd.DataFrame) -> dict[str, Any]:
    """Drift of the features that were served, and the report for people."""
    predictor = load_package(trained, work)
    inputs = pd.DataFrame([json.loads(text) for text in served["inputs"]])
    columns = as_columns(
        {name: inputs[name].astype(object).where(inputs[name].notna(), None).tolist() for name in inputs},
        predictor.inputs,
    )
    features = pd.DataFrame(predictor.features(columns))
    references = {
        name: Reference.model_validate(item)
        for name, item in json.loads(work.store.read(trained.outputs["reference"])).items()
    }
    sample = pd.read_parquet(work.store.fetch(trained.outputs["sample"], work.folder / "sample.parquet"))
    work.keep("report", drift_report(sample, features, work.call.spec["sample"], work.call.seed))
    return {
        "drift": stability(features, references),
        "usual_drift": {name: item.usual for name, item in references.items()},
    }


def _performance(
    work: Work, trained: Receipt, predictions: pd.DataFrame, start: datetime
) -> dict[str, Any]:
    """Metrics over the predictions whose label became known in the window."""
    model, datasets = specs_of(trained)
    promised = Evaluation.model_validate(
        read_receipt(work.call.inputs["evaluation"], work.store).results["evaluation"]
    )
    labels = read_labels(
        model,
        datasets[model.rows],
        work.call.inputs["rows"],
        work.store,
        matured_after=start,
        matured_by=work.call.as_of,
    )
    joined = labels.merge(predictions, left_on="_key", right_on="key")
    measured = {} if joined.empty else evaluate(joined, None, None, work.call.seed).candidate
    return {"labelled": len(joined), "performance": measured, "promised": promised.candidate}
