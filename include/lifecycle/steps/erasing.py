"""Erases one person: from tables and their versions, kept outputs and logs; says which models knew them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from include.lifecycle.data.privacy.erased import folder_of, remember
from include.lifecycle.data.privacy.pseudonyms import Keys, keys_of
from include.lifecycle.data.privacy.traces import Person
from include.lifecycle.data.publishing import published_table, quarantine_table, scores_table
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.release.decisions import Actor
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.quantities import Instant
from include.lifecycle.spec.value import Value, canonical_json, sha256
from include.lifecycle.steps.erasure_plan import ErasurePlan, plan_path, read_plan, write_plan
from include.lifecycle.steps.kept_outputs import outputs_with, remove_outputs, trainings_on
from include.lifecycle.store.connections import Connections
from include.lifecycle.store.forgetting import files_of, files_with, take_out
from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import Store
from include.lifecycle.store.scratch import scratch_folder

_PASSES = 5


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

    `subject` is the value of the policy's subject column as the source writes it. What is found is
    written down before anything goes, and what tells where the rows are goes last, so that a run which
    died half-way is finished and counted by the next. Work that was in flight is searched for again
    until nothing is found. Raises Rejected when the policy names no subject or no key, Transient when
    new rows of the person come again and again.
    """
    spec = catalog.dataset(dataset)
    column, keys = _subject_of(spec, connections)
    if not subject.strip():
        raise Rejected(f"{dataset}: say whom to erase: the value of {column} as the source writes it")
    at = datetime.now(UTC)
    about = {"at": at.isoformat(), "reason": reason, "actor": actor.name}
    remembered = remember(spec, subject, keys, store, about)
    why = f"erasure {sha256(remembered.encode())[:12]}"
    path = plan_path(dataset, remembered)
    person = Person(column, spec.columns[column].type, _values(subject, keys))

    plan = read_plan(path, store)
    for number in range(_PASSES):
        person, found = _find(person, spec, catalog, store)
        whole = plan.merged(found)
        # Once more when nothing is left: a training may have been registered since.
        marked = _mark(spec, whole, store, registry, at)
        if number and found.is_empty:
            break
        write_plan(path, whole, store)
        _remove(person, spec, found if number else whole, store, why)
        plan = whole
    else:
        raise Transient(
            f"{dataset}: rows of the person came back {_PASSES} times while they were removed; wait until "
            f"{dataset}.ingest and the trainings are done, then erase again"
        )

    report = ErasureReport(
        dataset=dataset,
        remembered=remembered,
        at=at,
        actor=actor.name,
        reason=reason,
        marked=tuple(marked),
        **_counts(plan),
    )
    place = f"{folder_of(dataset)}/reports/{at:%Y-%m-%dT%H-%M-%S.%fZ}.json"
    store.put_if_absent(place, canonical_json(report.model_dump(mode="json")))
    store.remove(path)
    return report


def _counts(plan: ErasurePlan) -> dict[str, Any]:
    return {
        "rows": {name: sum(files.values()) for name, files in plan.holding.items()},
        "files": {name: len(files) for name, files in plan.holding.items()},
        "objects": len(plan.objects),
        "receipts": len(plan.receipts),
        "amended": len(plan.amended),
    }


def _find(person: Person, spec: DatasetSpec, catalog: Catalog, store: Store) -> tuple[Person, ErasurePlan]:
    """Everything that holds the person now; and the person with the keys of the rows that were found."""
    tables = _tables(spec.name, store)
    holding = {table.name: files_with(person, table, store) for table in tables}
    person = replace(person, keys=person.keys | _keys(person, spec, tables, holding, store))
    for name in _models(spec, catalog, store):
        for made in (prediction_log(name, store), scores_table(name, store)):
            holding[made.name] = files_with(person, made, store)
    doomed = outputs_with(person, spec.name, store)
    return person, ErasurePlan(
        holding=holding, objects=doomed.objects, receipts=doomed.receipts, amended=doomed.amended
    )


def _remove(person: Person, spec: DatasetSpec, plan: ErasurePlan, store: Store, why: str) -> None:
    tables = {table.name: table for table in reversed(_tables(spec.name, store))}
    for name in plan.holding:
        if name not in tables:
            take_out(person, Table(store, name), plan.files(name), store, why)
    remove_outputs(person, plan.doomed, store)
    for name, table in tables.items():
        take_out(person, table, plan.files(name), store, why)


def _tables(dataset: str, store: Store) -> list[Table]:
    return [published_table(dataset, store), quarantine_table(dataset, store)]


def _why(dataset: str, at: datetime) -> str:
    return f"a person was erased from {dataset} on {at:%Y-%m-%d}: the data of this version are not whole"


def _subject_of(spec: DatasetSpec, connections: Connections) -> tuple[str, Keys]:
    if spec.privacy is None or spec.privacy.subject is None:
        raise Rejected(f"{spec.name}.yaml: privacy.subject is missing; name the column that says who it is")
    return spec.privacy.subject, keys_of(spec, connections)


def _values(subject: str, keys: Keys) -> frozenset[str]:
    """What the column says of the person, or said before it became a pseudonym or stopped to be one."""
    return frozenset({subject, *(key.pseudonym(subject) for key in keys)})


def _keys(
    person: Person, spec: DatasetSpec, tables: list[Table], holding: Mapping[str, Iterable[str]], store: Store
) -> frozenset[str]:
    """Keys of the person's rows in all versions: what predictions and gate rows are known by."""
    if len(spec.key) != 1:
        return frozenset()
    found: set[str] = set()
    with scratch_folder("erase") as folder:
        file = folder / "data.parquet"
        for table in tables:
            for name in holding[table.name]:
                if store.copy_out(f"{table.path}/{name}", file):
                    found |= person.row_keys(file, spec.key[0])
    return frozenset(found)


def _mark(spec: DatasetSpec, plan: ErasurePlan, store: Store, registry: Marks, at: datetime) -> list[Marked]:
    """Mark the versions of trainings whose pinned table version held the person's rows."""
    marked, table, holding = [], published_table(spec.name, store), plan.holding.get(spec.name)
    for trained in trainings_on(spec.name, store) if holding else ():
        version = trained.call.inputs["versions"][spec.name]
        if files_of(table, version) & set(holding or ()):
            model = trained.call.spec["model"]["name"]
            found = registry.mark_irreproducible(model, trained.run_key, _why(spec.name, at))
            marked.append(Marked(model=model, version=found, run_key=trained.run_key))
    return marked


def _models(spec: DatasetSpec, catalog: Catalog, store: Store) -> list[str]:
    """Models whose rows the dataset has, or had when they were trained."""
    trainings = trainings_on(spec.name, store)
    specs = [trained.call.spec["model"] for trained in trainings]
    names = {model["name"] for model in specs if model["rows"] == spec.name}
    names |= {name for name in catalog.model_names() if catalog.model(name).rows == spec.name}
    return sorted(names)
