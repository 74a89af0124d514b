"""Erases one person: from tables and their versions, kept outputs and logs; says which models knew them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from include.lifecycle.data.privacy.erased import folder_of, remember
from include.lifecycle.data.privacy.pseudonyms import Keys, keys_of
from include.lifecycle.data.privacy.traces import Person
from include.lifecycle.data.publishing import published_table, quarantine_table
from include.lifecycle.errors import Rejected
from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.release.decisions import Actor
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.privacy import Generalise, Pseudonym
from include.lifecycle.spec.quantities import Instant
from include.lifecycle.spec.value import Value, canonical_json, sha256
from include.lifecycle.steps.kept_outputs import remove_outputs, trainings_on
from include.lifecycle.store.connections import Connections
from include.lifecycle.store.forgetting import files_of, files_with, take_out
from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt


class Marks(Protocol):
    """What erasing asks of the model registry."""

    def mark_irreproducible(self, model: str, run_key: str, why: str) -> str | None:
        """Tag the version of a training; None when it was never registered."""


class Marked(Value):
    """A model's version whose data held the person: it cannot be trained again from the same data."""

    model: str
    version: str | None
    """None where a training's version was never registered."""
    run_key: str


class ErasureReport(Value):
    """What an erasure did; of whom, only the mark under which they are remembered says."""

    dataset: str
    remembered: str
    """Where the store remembers the person, by a keyed hash, so that no later ingest brings them back."""
    at: Instant
    actor: str
    reason: str
    rows: dict[str, int]
    """Rows taken out of the newest version of each table."""
    files: dict[str, int]
    """Data files removed from each table, those of old versions included."""
    objects: int
    receipts: int
    amended: int
    """Receipts of trainings that now name outputs without the person's rows."""
    marked: tuple[Marked, ...]


def erase(
    dataset: str,
    subject: str,
    *,
    catalog: Catalog,
    store: Store,
    connections: Connections,
    registry: Marks,
    reason: str,
    actor: Actor,
) -> ErasureReport:
    """Remove a person's rows everywhere, and leave a report; safe to run again, also after a crash.

    `subject` is the value of the policy's subject column as the source writes it. What tells where the
    rows are goes last, so that a run which died half-way finds the rest. Raises Rejected when the policy
    names no subject or no key.
    """
    spec = catalog.dataset(dataset)
    column, keys = _subject_of(spec, connections)
    if not subject.strip():
        raise Rejected(f"{dataset}: say whom to erase: the value of {column} as the source writes it")
    at = datetime.now(UTC)
    about = {"at": at.isoformat(), "reason": reason, "actor": actor.name}
    remembered = remember(dataset, subject, keys, store, about)
    why = f"erasure {sha256(remembered.encode())[:12]}"

    person = Person(column, spec.columns[column].type, _values(spec, column, subject, keys))
    tables = [published_table(dataset, store), quarantine_table(dataset, store)]
    holding = {table.name: files_with(person, table, store) for table in tables}
    person = replace(person, keys=_keys(person, spec, tables, holding, store))

    trainings = trainings_on(dataset, store)
    marked = _mark(trainings, tables[0], holding[dataset], registry, _why(dataset, at))
    logs = [prediction_log(name, store) for name in _models(trainings, spec, catalog)]
    holding |= {log.name: files_with(person, log, store) for log in logs}
    rows = {log.name: take_out(person, log, holding[log.name], store, why) for log in logs}
    removed = remove_outputs(person, dataset, store)
    for table in reversed(tables):
        rows[table.name] = take_out(person, table, holding[table.name], store, why)

    report = ErasureReport(
        dataset=dataset,
        remembered=remembered,
        at=at,
        actor=actor.name,
        reason=reason,
        rows=rows,
        files={name: len(files) for name, files in holding.items()},
        objects=removed.objects,
        receipts=removed.receipts,
        amended=removed.amended,
        marked=tuple(marked),
    )
    path = f"{folder_of(dataset)}/reports/{at:%Y-%m-%dT%H-%M-%S.%fZ}.json"
    store.put_if_absent(path, canonical_json(report.model_dump(mode="json")))
    return report


def _why(dataset: str, at: datetime) -> str:
    return f"a person was erased from {dataset} on {at:%Y-%m-%d}: the data of this version are not whole"


def _subject_of(spec: DatasetSpec, connections: Connections) -> tuple[str, Keys]:
    if spec.privacy is None or spec.privacy.subject is None:
        raise Rejected(f"{spec.name}.yaml: privacy.subject is missing; name the column that says who it is")
    column = spec.privacy.subject
    if isinstance(spec.columns[column].privacy, Generalise):
        raise Rejected(f"{spec.name}.yaml: privacy.subject: {column!r} is generalised and tells nobody apart")
    return column, keys_of(spec, connections)


def _values(spec: DatasetSpec, column: str, subject: str, keys: Keys) -> frozenset[str]:
    """What the column says of the person: itself, or a pseudonym under each key there was."""
    if isinstance(spec.columns[column].privacy, Pseudonym):
        return frozenset(key.pseudonym(subject) for key in keys)
    return frozenset({subject})


def _keys(
    person: Person, spec: DatasetSpec, tables: list[Table], holding: Mapping[str, list[str]], store: Store
) -> frozenset[str]:
    """Keys of the person's rows in all versions: what predictions and gate rows are known by."""
    if len(spec.key) != 1:
        return frozenset()
    found: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="erase-") as folder:
        file = Path(folder) / "data.parquet"
        for table in tables:
            for name in holding[table.name]:
                if store.copy_out(f"{table.path}/{name}", file):
                    found |= person.row_keys(file, spec.key[0])
    return frozenset(found)


def _mark(
    trainings: list[Receipt], table: Table, holding: list[str], registry: Marks, why: str
) -> list[Marked]:
    """Mark the versions of trainings whose pinned table version held the person's rows."""
    marked = []
    for trained in trainings:
        version = trained.call.inputs["versions"][table.name]
        if files_of(table, version) & set(holding):
            model = trained.call.spec["model"]["name"]
            found = registry.mark_irreproducible(model, trained.run_key, why)
            marked.append(Marked(model=model, version=found, run_key=trained.run_key))
    return marked


def _models(trainings: list[Receipt], spec: DatasetSpec, catalog: Catalog) -> list[str]:
    """Models whose rows the dataset has, or had when they were trained."""
    specs = [trained.call.spec["model"] for trained in trainings]
    names = {model["name"] for model in specs if model["rows"] == spec.name}
    names |= {name for name in catalog.model_names() if catalog.model(name).rows == spec.name}
    return sorted(names)
