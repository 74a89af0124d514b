"""Remembers who was erased, by a keyed hash alone, so that a later ingest leaves their rows out."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from include.lifecycle.data.privacy.pseudonyms import Key, Keys
from include.lifecycle.data.privacy.spelling import spelled
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.value import Value, canonical_json, sha256
from include.lifecycle.store.objects import Output, Store, object_path


class Mark(Value):
    """One erased person."""

    mark: str
    """Keyed hash of the column and what it said of them, after the name of the key."""
    key: str
    """Fingerprint of the key."""
    column: str
    """The column that told who a row was about, then."""
    at: str = ""
    reason: str = ""
    actor: str = ""

    @property
    def key_name(self) -> str:
        """The name of the key."""
        return self.mark.rpartition("_")[0]


def remember(spec: DatasetSpec, subject: str, keys: Keys, store: Store, about: dict[str, str]) -> str:
    """Record a person as erased, once; returns the path. `about` says when (`at`), `reason` and `actor`.

    The policy must name a subject's column.
    """
    column = spec.privacy.subject if spec.privacy else None
    if column is None:
        raise Rejected(f"{spec.name}.yaml: privacy.subject is missing; name the column that says who it is")
    said = spelled([subject], spec.columns[column].type)[0] or subject
    mark = Mark(mark=_hash(keys.current, column, said), key=keys.current.fingerprint, column=column, **about)
    path = f"{folder_of(spec.name)}/subjects/{mark.mark}.json"
    store.put_if_absent(path, canonical_json(mark.model_dump(mode="json")))
    return path


def erased(dataset: str, store: Store) -> frozenset[Mark]:
    """The marks of everybody who was erased from a dataset, under the keys and columns of their time."""
    return frozenset(_read(path, store) for path in store.list(f"{folder_of(dataset)}/subjects"))


def fingerprint(marks: Iterable[Mark]) -> str:
    """sha256 over those who were erased: part of what an extraction depends on."""
    return sha256(canonical_json(sorted(mark.mark for mark in marks)))


class Sieve:
    """Leaves out the rows of erased people, by the column and the key that each was erased by.

    Raises Rejected when the dataset has such a column no more, or such a key is gone or another one now.
    """

    def __init__(self, spec: DatasetSpec, marks: Iterable[Mark], keys: Keys) -> None:
        self._spec = spec
        self._marks: dict[str, tuple[set[Key], set[str]]] = {}
        for mark in sorted(marks, key=lambda mark: mark.mark):
            if mark.column not in spec.columns:
                raise Rejected(self._gone(mark.column, f"{spec.name}.yaml"))
            known, hashes = self._marks.setdefault(mark.column, (set(), set()))
            known.add(keys.holder(mark.key_name, mark.key))
            hashes.add(mark.mark)

    def stays(self, batch: pa.RecordBatch) -> pa.Array:
        """Per row whether it stays, by the raw values of the columns."""
        stays = pa.repeat(pa.scalar(True), batch.num_rows)
        for column, (keys, marks) in self._marks.items():
            if column not in batch.schema.names:
                raise Rejected(self._gone(column, "the source"))
            people = batch.column(column).dictionary_encode()
            words = spelled(people.dictionary, self._spec.columns[column].type)
            who = [
                word is None or not any(_hash(key, column, word) in marks for key in keys) for word in words
            ]
            stays = pc.and_(stays, pc.fill_null(pa.array(who, pa.bool_()).take(people.indices), True))
        return stays

    def _gone(self, column: str, where: str) -> str:
        name = self._spec.name
        return (
            f"{name}: people were erased by column {column!r}, which is not in {where} any more, so that "
            f"their rows cannot be told: put it back (in {name}.yaml with privacy: drop, if nobody may read "
            f"it), or erase them again by the new privacy.subject and remove {folder_of(name)}/subjects/* "
            f"that name {column!r}"
        )


def check_nobody_erased(
    dataset: str, partition: str, read: Output, store: Store, made: Iterable[Output] = ()
) -> None:
    """Raise Transient when an object that was read is gone, since an erasure removed it meanwhile.

    What was `made` of it goes, too. Where the object is still there, an erasure that removes it later
    searches once more afterwards, and finds what was made of it.
    """
    if not store.holds(read):
        for output in made:
            store.remove(object_path(output.sha256))
        raise Transient(f"{dataset} {partition}: somebody was erased meanwhile; ingest the partition again")


def _hash(key: Key, column: str, value: str) -> str:
    return key.mark(f"{column} {value}")


def _read(path: str, store: Store) -> Mark:
    try:
        return Mark.model_validate_json(store.get(path) or b"")
    except ValidationError:
        raise Rejected(
            f"{path}: this says not by which column and key somebody was erased; restore the file, or "
            "erase the person again and remove it"
        ) from None


def folder_of(dataset: str) -> str:
    """Where the store keeps what it must know of erasures."""
    return f"erasures/{dataset}"
