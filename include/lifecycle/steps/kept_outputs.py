"""Which outputs that steps kept hold a person, and how they go."""

from __future__ import annotations

import json
import re
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from include.lifecycle.data.privacy.traces import Person, is_parquet
from include.lifecycle.store.objects import Store, object_path
from include.lifecycle.store.receipts import Receipt, all_receipts, amend_receipt, receipt_path
from include.lifecycle.store.scratch import scratch_folder

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_TRAINING = ("train", "evaluate", "register", "measure", "reproduce")


@dataclass(frozen=True)
class Doomed:
    """What holds a person."""

    objects: frozenset[str]
    """sha256 of objects that must go."""
    receipts: frozenset[str]
    """Run keys of receipts that must go, since they name one: a rerun makes both again."""
    amended: frozenset[str]
    """Run keys of trainings' receipts that must name other outputs."""


def trainings_on(dataset: str, store: Store) -> list[Receipt]:
    """The receipts of all trainings that read a dataset."""
    return [receipt for receipt in all_receipts(store) if _learned_from(dataset, receipt)]


def _learned_from(dataset: str, receipt: Receipt) -> bool:
    return receipt.call.step == "train" and dataset in receipt.call.spec["datasets"]


def outputs_with(person: Person, dataset: str, store: Store) -> Doomed:
    """The objects that hold the person, also those that no receipt names, and the receipts that name one.

    Receipts of trainings stay, as the model does; their samples have no whole rows.
    """
    touching, others = _receipts(dataset, store)
    with scratch_folder("erase") as folder:
        found = _holding(person, _left_alone(dataset, touching, others, store), store, folder)
    trained = [receipt for receipt in touching if receipt.call.step == "train"]
    amended = {
        receipt.run_key
        for receipt in trained
        if found & {output.sha256 for output in receipt.outputs.values()}
    }
    ingested = [receipt for receipt in touching if receipt.call.step not in _TRAINING]
    found |= {
        output.sha256
        for receipt in _naming(ingested, found)
        for name, output in receipt.outputs.items()
        if name.startswith("gx_")  # lists of unexpected values: parts of the person's row
    }
    receipts = {receipt.run_key for receipt in _naming(ingested, found)}
    return Doomed(frozenset(found), frozenset(receipts), frozenset(amended))


def remove_outputs(person: Person, doomed: Doomed, store: Store) -> None:
    """Remove what holds the person; trainings' receipts name the same gate without the person's rows.

    Receipts go before the objects that they name, and what is gone already is no hindrance.
    """
    with scratch_folder("erase") as folder:
        for receipt in all_receipts(store):
            if receipt.run_key in doomed.amended:
                _amend(receipt, person, doomed.objects, store, folder)
    for run_key in sorted(doomed.receipts):
        store.remove(receipt_path(run_key))
    for digest in sorted(doomed.objects):
        store.remove(object_path(digest))


def _left_alone(dataset: str, touching: list[Receipt], others: list[Receipt], store: Store) -> set[str]:
    """sha256 of objects that hold no rows of the dataset, whatever words are in them: those of other
    datasets, models and what was measured of them, and features files."""
    foreign = {output.sha256 for receipt in others for output in receipt.outputs.values()}
    own: set[str] = set()
    rowless: set[str] = set()
    for receipt in touching:
        for name, output in receipt.outputs.items():
            by_key = name == "gate" and receipt.call.spec["model"]["rows"] == dataset
            (rowless if receipt.call.step in _TRAINING and not by_key else own).add(output.sha256)
    calls = (json.loads(store.get(path) or b"{}") for path in store.list("calls"))
    features = {
        call["inputs"]["features"]["sha256"] for call in calls if "features" in call.get("inputs", {})
    }
    return (foreign | rowless | features) - own


def _receipts(dataset: str, store: Store) -> tuple[list[Receipt], list[Receipt]]:
    """Receipts of steps on the dataset or on models that learned from it, and all others."""
    receipts = list(all_receipts(store))
    trained = {receipt.run_key for receipt in receipts if _learned_from(dataset, receipt)}
    touching: list[Receipt] = []
    others: list[Receipt] = []
    for receipt in receipts:
        call = receipt.call
        touches = (
            call.spec.get("name") == dataset
            or receipt.run_key in trained
            or call.inputs.get("train") in trained
        )
        (touching if touches else others).append(receipt)
    return touching, others


def _holding(person: Person, left_alone: set[str], store: Store, scratch: Path) -> set[str]:
    """sha256 of the objects that hold the person."""
    found, file = set(), scratch / "object"
    for path in store.list("objects"):
        digest = path.rpartition("/")[2]
        if digest not in left_alone and store.copy_out(path, file) and person.is_in(file):
            found.add(digest)
    return found


def _amend(receipt: Receipt, person: Person, found: Set[str], store: Store, scratch: Path) -> None:
    """Give a training's receipt the same outputs without the person's rows."""
    outputs = {}
    for name, output in receipt.outputs.items():
        whole, rest = scratch / "whole", scratch / "rest"
        if output.sha256 in found and store.copy_out(object_path(output.sha256), whole) and is_parquet(whole):
            person.without(whole, rest)
            outputs[name] = store.keep_file(rest)
    if outputs:
        amend_receipt(receipt.model_copy(update={"outputs": receipt.outputs | outputs}), store)


def _naming(receipts: list[Receipt], found: Set[str]) -> list[Receipt]:
    """Receipts that have one of the objects as an output, or among their call's inputs."""
    return [
        receipt
        for receipt in receipts
        if found & {output.sha256 for output in receipt.outputs.values()}
        or found & set(_DIGEST.findall(receipt.call.canonical.decode()))
    ]
