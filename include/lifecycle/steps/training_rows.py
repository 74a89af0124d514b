"""Which rows does a training learn from? Those that were known, in memory or in a file, with features."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pandas as pd

from include.lifecycle.data.point_in_time import read_rows, write_rows
from include.lifecycle.data.privacy.anonymity import Anonymous, anonymous, quasi_identifiers
from include.lifecycle.errors import Rejected
from include.lifecycle.model.features import FeatureCode, compute_features
from include.lifecycle.model.training_set import InMemory, OnDisk, TrainingSet
from include.lifecycle.model.workers import ALONE, Communicator
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.steps.running import Work


def known_rows(
    work: Work, model: ModelSpec, datasets: dict[str, DatasetSpec], workers: Communicator = ALONE
) -> tuple[pd.DataFrame | Path, Anonymous | None]:
    """The rows known, never none: in memory, or in a file; of several workers' each its share."""
    if model.training.external_memory:
        return _rows_beyond_memory(work, model, datasets), None
    return _rows(work, model, datasets, workers)


def training_set(
    work: Work, model: ModelSpec, rows: pd.DataFrame | Path, code: FeatureCode, inputs: Mapping[str, str]
) -> TrainingSet:
    """The rows with their features; a file of rows is removed."""
    if isinstance(rows, pd.DataFrame):
        return InMemory(rows, compute_features(code, rows, inputs, model.features_file))
    table = OnDisk.write(rows, work.folder / "features.parquet", code, inputs, model.features_file)
    rows.unlink()
    return table


def _rows_beyond_memory(work: Work, model: ModelSpec, datasets: dict[str, DatasetSpec]) -> Path:
    """A file of the training set, which is never whole in memory."""
    if quasi := quasi_identifiers(datasets):
        raise Rejected(
            f"{model.name}.yaml: training.external_memory: groups of quasi-identifiers "
            f"({', '.join(f'{dataset}.{column}' for dataset, column in quasi)}) are counted in memory only; "
            "take external_memory out, or do without these columns"
        )
    file, since = work.folder / "rows.parquet", _since(work, model)
    pins = work.call.inputs["versions"]
    count = write_rows(model, datasets, pins, work.store, file, as_of=work.call.as_of, since=since)
    if not count:
        raise Rejected(_nothing_known(work, model))
    return file


def _since(work: Work, model: ModelSpec) -> datetime | None:
    history = model.training.history
    return None if history is None else work.call.as_of - history


def _rows(
    work: Work, model: ModelSpec, datasets: dict[str, DatasetSpec], workers: Communicator
) -> tuple[pd.DataFrame, Anonymous | None]:
    """A worker's share of the training set, small groups left out where quasi-identifiers are named;
    never empty."""
    quasi = quasi_identifiers(datasets)
    rows = read_rows(
        model,
        datasets,
        work.call.inputs["versions"],
        work.store,
        as_of=work.call.as_of,
        since=_since(work, model),
        grouped_by=quasi,
        share=(workers.rank, workers.size),
    )
    if rows.empty:
        raise Rejected(_nothing_known(work, model))
    if not quasi:
        return rows, None
    found = anonymous(rows, datasets)
    if found.rows.empty:
        raise Rejected(
            f"{model.name}: every row shares its quasi-identifiers with too few others; generalise "
            f"{', '.join(column for _, column in quasi)} more in the dataset's YAML"
        )
    sizes = workers.gather(pd.DataFrame({"suppressed": [found.suppressed], "smallest": [found.smallest]}))
    return found.rows, Anonymous(found.rows, int(sizes["suppressed"].sum()), int(sizes["smallest"].min()))


def _nothing_known(work: Work, model: ModelSpec) -> str:
    return (
        f"{model.name}: no row of {model.rows} has a label that had matured at {work.call.as_of:%Y-%m-%d}: "
        f"{model.label.column} is empty or known_after is too long; check {model.rows}.yaml"
    )
