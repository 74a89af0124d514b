"""A small real model, trained and packaged by the library, and released into a store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from include.lifecycle.data.point_in_time import EVENT_TIME, KEY, LABEL
from include.lifecycle.model.checkpoints import NoCheckpoints
from include.lifecycle.model.features import compute_features, load_feature_code
from include.lifecycle.model.packaging import compile_trees, write_package
from include.lifecycle.model.predictor import Predictor
from include.lifecycle.model.training import fit
from include.lifecycle.model.training_set import InMemory
from include.lifecycle.release.document import Release, ReleaseDocument, write_release
from include.lifecycle.spec.model import Training
from include.lifecycle.store.objects import Store

MODEL = "delay"
INPUTS = {
    "carrier": "string",
    "distance": "number",
    "stops": "integer",
    "weekend": "boolean",
    "time_hour": "timestamp",
}
DATATYPES = {
    "string": "BYTES",
    "number": "FP64",
    "integer": "INT64",
    "boolean": "BOOL",
    "timestamp": "BYTES",
}
ROW = {
    "carrier": "UA",
    "distance": 812.5,
    "stops": 1,
    "weekend": True,
    "time_hour": "2013-01-31T14:00:00Z",
}
FEATURES = b"""
def features(rows):
    hour = rows["time_hour"].astype("datetime64[h]").astype("int64") % 24
    return {
        "carrier": rows["carrier"],
        "distance": rows["distance"],
        "stops": rows["stops"],
        "weekend": rows["weekend"],
        "hour": hour,
    }
"""


def training_rows(count: int, seed: int) -> pd.DataFrame:
    """Rows of the model's inputs and an origin, drawn with a seed."""
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "carrier": [("UA", "DL", "AA", None)[code] for code in draw.integers(0, 4, count)],
            "distance": draw.uniform(100, 3_000, count),
            "stops": draw.integers(0, 3, count).astype(float),
            "weekend": draw.integers(0, 2, count).astype(float),
            "time_hour": pd.Timestamp("2013-01-01", tz="UTC")
            + pd.to_timedelta(draw.integers(0, 8_000, count), unit="h"),
            "origin": [("JFK", "LGA")[code] for code in draw.integers(0, 2, count)],
        }
    )


def make_package(
    folder: Path,
    seed: int,
    trees: int = 10,
    features: bytes = FEATURES,
    inputs: Mapping[str, str] = INPUTS,
) -> Path:
    """Train on a seed's rows and write the package into a folder."""
    rows = training_rows(400, seed)
    computed = compute_features(load_feature_code(features), rows, dict(inputs))
    label = (rows["distance"] + 800 * rows["stops"] > 1_500 + 40 * seed).astype(float)
    known = pd.DataFrame({KEY: rows.index.astype(str), EVENT_TIME: rows["time_hour"], LABEL: label})
    fitted = fit("final", Training(seed=seed), trees, InMemory(known, computed), NoCheckpoints())
    about = {"inputs": dict(inputs), "key": "flight_id", "event_time": "time_hour"}
    write_package(folder, fitted, features, **about)
    compile_trees(folder, fitted, [computed], seed)
    return folder


def release_of(package: Path, version: str, store: Store) -> Release:
    """A release of a package whose files are in the store."""
    files = {file.name: store.keep_file(file) for file in sorted(package.iterdir()) if file.is_file()}
    as_of = datetime(2013, 3, int(version), tzinfo=UTC)
    return Release(version=version, run_key=f"run-{version}", as_of=as_of, package=files)


def publish(
    store: Store, champion: Release | None, seq: int = 1, model: str = MODEL, **candidate: Any
) -> None:
    """Write the release document; `candidate`, `share` and what else it says of one may be given."""
    write_release(ReleaseDocument(model=model, seq=seq, champion=champion, **candidate), store)


def score(package: Path, **changes: object) -> float:
    """What the packaged predictor says about ROW with some columns changed."""
    row = {name: [value] for name, value in {**ROW, **changes}.items()}
    return float(Predictor(package).predict(row)[0])


def tensors(rows: int = 1, **changes: Any) -> dict[str, Any]:
    """A request of the Open Inference Protocol: some times ROW with changes."""
    return {
        "inputs": [
            {"name": name, "shape": [rows], "datatype": DATATYPES[INPUTS[name]], "data": [value] * rows}
            for name, value in {**ROW, **changes}.items()
        ]
    }
