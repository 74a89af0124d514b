"""All specs of a project: each is read on its own, and checked against the specs it names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.dataset import Column, ColumnType, DatasetSpec
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.nearest import nearest, require_column
from include.lifecycle.spec.privacy import Drop, Generalise, Pseudonym
from include.lifecycle.spec.reading import read_spec
from include.lifecycle.spec.value import Value

Spec = TypeVar("Spec", bound=Value)


@dataclass(frozen=True)
class Catalog:
    """The specs below one folder. Asking for one spec reads that one and those it names."""

    root: Path

    def dataset(self, name: str) -> DatasetSpec:
        """The dataset of that name; raises SpecError when it is unknown or broken."""
        dataset = self._read("datasets", name, DatasetSpec)
        try:
            check_dataset(dataset, self)
        except ValueError as error:
            raise SpecError(f"{self.root / 'datasets' / name}.yaml: {error}") from None
        return dataset

    def published_types(self, name: str) -> dict[str, ColumnType]:
        """The columns of a dataset's table and their types, whatever other datasets it names."""
        published = self._read("datasets", name, DatasetSpec).published
        return {column: item.type for column, item in published.items()}

    def model(self, name: str) -> ModelSpec:
        """The model of that name; raises SpecError when it is unknown, broken or asks too much."""
        model = self._read("models", name, ModelSpec)
        try:
            check_model(model, self)
        except ValueError as error:
            raise SpecError(f"{self.root / 'models' / name}.yaml: {error}") from None
        return model

    def dataset_names(self) -> list[str]:
        """Names of all dataset files, broken ones too."""
        return sorted(path.stem for path in (self.root / "datasets").glob("*.yaml"))

    def model_names(self) -> list[str]:
        """Names of all model files, broken ones too."""
        return sorted(path.stem for path in (self.root / "models").glob("*.yaml"))

    def features_path(self, model: ModelSpec) -> Path:
        """The model's features file."""
        return self.root / "models" / model.features_file

    def mistakes(self) -> list[SpecError]:
        """What is wrong with the specs, one error for each broken file."""
        found = []
        for names, read in ((self.dataset_names(), self.dataset), (self.model_names(), self.model)):
            for name in names:
                try:
                    read(name)
                except SpecError as error:
                    found.append(error)
        return found

    def _read(self, folder: str, name: str, kind: type[Spec]) -> Spec:
        path = self.root / folder / f"{name}.yaml"
        modified = path.stat().st_mtime_ns if path.is_file() else 0
        spec: Spec = _read_once(path, modified, kind)
        return spec


@lru_cache(maxsize=4096)
def _read_once(path: Path, _modified: int, kind: type[Spec]) -> Spec:
    return read_spec(path, kind)


def open_catalog() -> Catalog:
    """The specs below PERENNIAL_SPECS, or below this project's `include`."""
    default = Path(__file__).resolve().parents[2]
    return Catalog(Path(os.environ.get("PERENNIAL_SPECS") or default))


def check_dataset(dataset: DatasetSpec, catalog: Catalog) -> None:
    """Raise ValueError or SpecError when a reference names what is not there, or what cannot be equal."""
    for index, reference in enumerate(dataset.references):
        place = f"references.{index}"
        _require_dataset(reference.dataset, catalog, f"{place}.dataset")
        known = catalog.published_types(reference.dataset)
        for here, there in reference.columns.items():
            require_column(there, known, f"{place}.columns of {reference.dataset}")
            one, other = dataset.columns[here].type, known[there]
            if one != other and {one, other} != {"integer", "number"}:
                raise ValueError(
                    f"{place}.columns: {here!r} is a {one}, {there!r} of {reference.dataset} a {other}; "
                    "give both the same type"
                )


def check_model(model: ModelSpec, catalog: Catalog) -> None:
    """Raise ValueError or SpecError when a model asks for what its datasets do not have.

    A column that is known only after the event may be the label, never an input. A column whose values
    are treated may not be an input either: clients send raw values. Where the key of the rows is a
    pseudonym, clients send that pseudonym as the key, never the value that it stands for.
    """
    _require_dataset(model.rows, catalog, "rows")
    for index, join in enumerate(model.joins):
        _require_dataset(join.dataset, catalog, f"joins.{index}.dataset")
    rows = catalog.dataset(model.rows)
    if len(rows.key) != 1:
        raise ValueError(f"rows: {model.rows} must have a key of one column, to name a prediction")
    require_column(model.label.column, rows.columns, "label.column")
    if (kind := rows.columns[model.label.column].type) not in ("number", "integer"):
        raise ValueError(f"label.column: {model.label.column!r} is a {kind}; label.at_least needs a number")
    _require_raw(model, rows, catalog)
    known_after = _known_after(model, rows, catalog)
    for column in model.inputs:
        require_column(column, known_after, "inputs")
        if known_after[column] > timedelta(0):
            raise ValueError(f"inputs: {column!r} is known only {known_after[column]} after the event")
    if not catalog.features_path(model).is_file():
        raise ValueError(f"features: no file {catalog.features_path(model)}")


def _require_dataset(name: str, catalog: Catalog, place: str) -> None:
    known = catalog.dataset_names()
    if name not in known:
        raise ValueError(f"{place}: unknown dataset {name!r}{nearest(name, known)}")


def _require_raw(model: ModelSpec, rows: DatasetSpec, catalog: Catalog) -> None:
    """Raise ValueError where the table's values differ from those that clients would send, or are gone."""
    columns: dict[str, Column] = {}
    for name in (model.rows, *(join.dataset for join in model.joins)):
        columns = {**catalog.dataset(name).columns, **columns}
    if isinstance(rows.columns[model.label.column].privacy, Drop):
        raise ValueError(f"label.column: {model.label.column!r} is dropped in {model.rows}.yaml")
    for column in (name for name in model.inputs if name in columns):
        treatment = columns[column].privacy
        if isinstance(treatment, Drop):
            raise ValueError(f"inputs: {column!r} is dropped by its dataset's YAML; remove it here")
        if isinstance(treatment, Pseudonym | Generalise):
            raise ValueError(
                f"inputs: {column!r} is treated (privacy: {treatment.kind}), and clients would send its raw "
                "values, which the prediction log keeps; remove it here, or let the source deliver it "
                "as it may be kept, with privacy: keep"
            )
    if isinstance(rows.columns[rows.event_time].privacy, Generalise):
        raise ValueError(
            f"rows: the event time {rows.event_time!r} of {model.rows} is generalised, and clients would "
            "send the raw one, which the prediction log keeps; let the source deliver a coarser time"
        )


def _known_after(model: ModelSpec, rows: DatasetSpec, catalog: Catalog) -> dict[str, timedelta]:
    """When each column of the joined rows is known, counted from the row's event time."""
    known_after = {name: column.known_after for name, column in rows.columns.items()}
    for index, join in enumerate(model.joins):
        joined = catalog.dataset(join.dataset)
        for column in join.by:
            require_column(column, joined.columns, f"joins.{index}.by")
            require_column(column, rows.columns, f"joins.{index}.by")
            late = max(rows.columns[column].known_after, joined.columns[column].known_after - join.lag)
            if late > timedelta(0):
                raise ValueError(f"joins.{index}.by: {column!r} is known only {late} after the event")
        for name, spec in joined.columns.items():
            known_after.setdefault(name, spec.known_after - join.lag)
    return known_after


def label_known_after(model: ModelSpec, rows: DatasetSpec) -> timedelta:
    """How long after the event time a row's label is known."""
    return rows.columns[model.label.column].known_after
