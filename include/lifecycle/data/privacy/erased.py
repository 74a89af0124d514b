"""Remembers who was erased, by a keyed hash alone, so that a later ingest leaves their rows out."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from include.lifecycle.data.privacy.pseudonyms import Key, Keys
from include.lifecycle.spec.value import canonical_json, sha256
from include.lifecycle.store.objects import Store


def remember(dataset: str, subject: str, keys: Keys, store: Store, about: dict[str, str]) -> str:
    """Record a person as erased, once; returns the path. `about` says when, why and by whom."""
    mark = keys.current.mark(subject)
    path = f"{folder_of(dataset)}/subjects/{mark}.json"
    store.put_if_absent(path, canonical_json({"mark": mark, **about}))
    return path


def erased(dataset: str, store: Store) -> frozenset[str]:
    """The marks of everybody who was erased from a dataset, under the keys of their time."""
    paths = store.list(f"{folder_of(dataset)}/subjects")
    return frozenset(str(json.loads(store.get(path) or b"{}").get("mark", "")) for path in paths)


def fingerprint(marks: Iterable[str]) -> str:
    """sha256 over those who were erased: part of what an extraction depends on."""
    return sha256(canonical_json(sorted(marks)))


class Sieve:
    """Leaves out the rows of erased people, whichever of the keys they were erased under."""

    def __init__(self, marks: frozenset[str], keys: Keys) -> None:
        self._marks = marks
        self._keys: list[Key] = keys.named(mark.rpartition("_")[0] for mark in marks)

    def stays(self, subjects: pa.Array) -> pa.Array:
        """Per row whether it stays, by the raw values of the subject's column."""
        people = subjects.dictionary_encode()
        stays = [not self._is_erased(value) for value in people.dictionary.to_pylist()]
        return pc.fill_null(pa.array(stays, pa.bool_()).take(people.indices), True)

    def _is_erased(self, value: str) -> bool:
        return any(key.mark(value) in self._marks for key in self._keys)


def folder_of(dataset: str) -> str:
    """Where the store keeps what it must know of erasures."""
    return f"erasures/{dataset}"
