"""Evaluate: candidate and champion on the same gate rows, which neither had seen."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from include.lifecycle.data.point_in_time import EVENT_TIME, KEY, read_rows
from include.lifecycle.model.evaluation import evaluate
from include.lifecycle.model.packaging import fetch_package
from include.lifecycle.model.predictor import Predictor
from include.lifecycle.monitor.performance import made_before_known, prediction_log, read_predictions
from include.lifecycle.release.state import Proposal
from include.lifecycle.spec.catalog import label_known_after
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.value import canonical_json
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.running import Work
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, Receipt, read_receipt


def plan(trained: Receipt, champion: Proposal | None, store: Store) -> Call:
    """The call that compares a training with a champion (None: with nobody).

    A training that is not newer than the champion, such as a backfilled one, is measured alone: it
    cannot take the champion's place.
    """
    if champion is not None and trained.call.as_of <= champion.as_of:
        champion = None
    model = trained.call.spec["model"]["name"]
    inputs = {
        "train": trained.run_key,
        "champion": champion and {"version": champion.version, "train": champion.run_key},
        "predictions": champion and prediction_log(model, store).version(),
    }
    return Call(
        step="evaluate",
        spec={},
        inputs=inputs,
        as_of=trained.call.as_of,
        code=code_hash("evaluate"),
        seed=trained.call.seed,
    )


def run(work: Work) -> None:
    """Output `evaluation`, also as the result of the same name."""
    trained = read_receipt(work.call.inputs["train"], work.store)
    file = work.store.fetch(trained.outputs["gate"], work.folder / "gate.parquet")
    gate = pd.read_parquet(file)
    champion = work.call.inputs["champion"]
    scores = None if champion is None else _champion_scores(work, trained, gate)
    version = champion and champion["version"]
    evaluation = evaluate(gate, scores, version, work.call.seed).model_dump(mode="json")
    work.keep("evaluation", canonical_json(evaluation))
    work.results["evaluation"] = evaluation


def _champion_scores(work: Work, trained: Receipt, gate: pd.DataFrame) -> pd.Series:
    """The champion's probability per gate row, from before it could know the label; NaN if none.

    Rows newer than its training are scored by it now; for rows it was trained on since, what the
    champion of the time answered counts.
    """
    model, datasets = specs_of(trained)
    known_after = label_known_after(model, datasets[model.rows])
    champion = read_receipt(work.call.inputs["champion"]["train"], work.store)
    seen_until = champion.call.as_of - known_after

    scores = _logged_scores(work, model, gate, known_after)
    unseen = gate[EVENT_TIME] > seen_until
    if unseen.any():
        scores[unseen] = _rescored(work, trained, champion, gate[unseen])
    return scores


def _logged_scores(work: Work, model: ModelSpec, gate: pd.DataFrame, known_after: timedelta) -> pd.Series:
    end = gate[EVENT_TIME].max() + pd.Timedelta(microseconds=1)
    logged = read_predictions(
        model.name, work.call.inputs["predictions"], work.store, start=gate[EVENT_TIME].min(), end=end
    )
    # What a canary answered says nothing of the champion beside it.
    of_champions = logged[logged["arm"] == "champion"]
    honest = made_before_known(of_champions, known_after).set_index("key")["score"]
    return gate[KEY].map(honest).astype(float)


def _rescored(work: Work, trained: Receipt, champion: Receipt, gate: pd.DataFrame) -> pd.Series:
    """The champion's scores by its own inputs and joins, which the spec may have changed since."""
    (model, datasets), (its_model, its_datasets) = specs_of(trained), specs_of(champion)
    rows = read_rows(
        its_model.model_copy(update={"label": model.label}),
        {**its_datasets, model.rows: datasets[model.rows]},
        {**champion.call.inputs["versions"], **trained.call.inputs["versions"]},
        work.store,
        as_of=trained.call.as_of,
        since=gate[EVENT_TIME].min(),
    )
    rows = rows.set_index(KEY).loc[gate[KEY]]
    predictor = load_package(champion, work)
    scores = predictor.predict({name: rows[name].tolist() for name in predictor.inputs})
    return pd.Series(scores, index=gate.index)


def specs_of(trained: Receipt) -> tuple[ModelSpec, dict[str, DatasetSpec]]:
    """The specs that a training was called with."""
    spec = trained.call.spec
    datasets = {name: DatasetSpec.model_validate(item) for name, item in spec["datasets"].items()}
    return ModelSpec.model_validate(spec["model"]), datasets


def load_package(trained: Receipt, work: Work, threads: int = 1) -> Predictor:
    """A training's package, fetched and verified."""
    folder = work.folder / trained.run_key[:12]
    folder.mkdir(exist_ok=True)
    return Predictor(fetch_package(trained, work.store, folder), threads)
