"""Register: the version goes into MLflow with all that is known of it, once per run key."""

from __future__ import annotations

import json

import pandas as pd

from include.lifecycle.data.pinned import lost_data
from include.lifecycle.model.evaluation import Evaluation
from include.lifecycle.model.gates import Verdict
from include.lifecycle.model.packaging import fetch_package
from include.lifecycle.model.predictor import as_columns
from include.lifecycle.model.registry import Registry
from include.lifecycle.spec.value import canonical_json
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.evaluate import specs_of
from include.lifecycle.steps.running import Work
from include.lifecycle.store.receipts import Call, Receipt, read_receipt


def plan(trained: Receipt, evaluated: Receipt, verdict: Verdict) -> Call:
    """The call that registers a version which passed its gates."""
    return Call(
        step="register",
        spec={},
        inputs={
            "train": trained.run_key,
            "evaluate": evaluated.run_key,
            "gates": verdict.model_dump(mode="json"),
        },
        as_of=trained.call.as_of,
        code=code_hash("register"),
    )


def run(work: Work) -> None:
    """Results `version`, `run_id`, `experiment_id` of MLflow, and the gate's `metrics`."""
    trained = read_receipt(work.call.inputs["train"], work.store)
    evaluated = read_receipt(work.call.inputs["evaluate"], work.store)
    model, _ = specs_of(trained)
    package = work.folder / "package"
    package.mkdir()
    fetch_package(trained, work.store, package)
    evaluation = Evaluation.model_validate(evaluated.results["evaluation"])
    registry = Registry()
    registered = registry.register(
        model.name,
        trained.run_key,
        package,
        _example(work, trained),
        description=model.description,
        parameters={
            **model.training.parameters,
            **{key: trained.results[key] for key in ("trees",) if key in trained.results},
            "estimator": model.training.estimator,
            "seed": trained.call.seed,
        },
        metrics=_metrics(evaluation),
        tags=_tags(trained),
        documents={
            "receipt.json": trained.model_dump(mode="json"),
            "evaluation.json": evaluated.results["evaluation"],
            "gates.json": work.call.inputs["gates"],
        },
    )
    # After the version is there: of an erasure at the same time one of the two sees the other.
    if lost := lost_data(trained.call.inputs["versions"], work.store):
        registry.mark_irreproducible(model.name, trained.run_key, lost)
    metrics = {name: round(item.value, 5) for name, item in evaluation.candidate.items()}
    work.results |= {**registered.model_dump(), "metrics": metrics}


def _example(work: Work, trained: Receipt) -> pd.DataFrame:
    """A few rows of input with the types that the signature promises."""
    rows = json.loads(work.store.read(trained.outputs["example"]))
    inputs = json.loads(work.store.read(trained.outputs["predictor.json"]))["inputs"]
    columns = as_columns({name: [row[name] for row in rows] for name in inputs}, inputs)
    return pd.DataFrame({name: columns[name] for name in inputs})


def _tags(trained: Receipt) -> dict[str, str]:
    versions = {f"data.{name}": str(version) for name, version in trained.call.inputs["versions"].items()}
    tags = {"as_of": trained.call.as_of.isoformat(), **versions}
    if privacy := trained.results.get("privacy"):
        tags["privacy"] = canonical_json(privacy).decode()
    return tags


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    metrics = {f"gate_{name}": item.value for name, item in evaluation.candidate.items()}
    metrics |= {f"champion_{name}": item.value for name, item in evaluation.champion.items()}
    return metrics | {"gate_rows": float(evaluation.rows)}
