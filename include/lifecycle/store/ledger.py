"""The ledger: per model, an append-only list of decisions, each chained to the one before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from include.lifecycle.errors import Conflict, Tampered
from include.lifecycle.spec.quantities import Instant
from include.lifecycle.spec.value import Value, canonical_json, sha256
from include.lifecycle.store.objects import Store

GENESIS = "0" * 64


class Entry(Value):
    """One decision: what, why, by whom, when, and as of which business time."""

    seq: int
    prev: str
    at: Instant
    as_of: Instant
    actor: str
    run_id: str
    event: str
    why: str
    data: dict[str, Any]
    hash: str

    @classmethod
    def chained(cls, after: Entry | None, **content: Any) -> Entry:
        """The entry that follows another one, with its number and hash."""
        draft = cls(
            seq=after.seq + 1 if after else 0, prev=after.hash if after else GENESIS, hash="", **content
        )
        return draft.model_copy(update={"hash": draft.digest()})

    def digest(self) -> str:
        """sha256 of the entry's canonical JSON without its hash."""
        return sha256(canonical_json(self.model_dump(mode="json", exclude={"hash"})))


class Ledger:
    """The ledger of one model in a store."""

    def __init__(self, store: Store, model: str) -> None:
        self._store = store
        self.model = model

    def entries(self, known: Sequence[Entry] = ()) -> list[Entry]:
        """All entries in order; raises Tampered when one was changed, removed or reordered.

        The first ones, where they are `known`, are not read again.
        """
        try:
            return self._read(known)
        except Tampered:
            # A listing is no snapshot: amid writers it may name an entry and not yet the one before it.
            return self._read(known)

    def _read(self, known: Sequence[Entry]) -> list[Entry]:
        found = self._store.get_all(self._paths()[len(known) :])
        fresh = [self._parsed(path, content) for path, content in found.items()]
        return [*known, *verify(fresh, self.model, known)]

    def length(self) -> int:
        """How many entries there are, without reading them."""
        return len(self._paths())

    def append(
        self,
        event: str,
        *,
        after: list[Entry],
        as_of: datetime,
        why: str,
        actor: str,
        run_id: str,
        **data: Any,
    ) -> Entry:
        """Append an entry behind those that the decision was taken on.

        Raises Conflict when another writer came first: read again and decide again.
        """
        entry = Entry.chained(
            after[-1] if after else None,
            at=datetime.now(UTC),
            as_of=as_of,
            actor=actor,
            run_id=run_id,
            event=event,
            why=why,
            data=data,
        )
        path = f"ledger/{self.model}/{entry.seq:012d}.json"
        if not self._store.put_if_absent(path, canonical_json(entry.model_dump(mode="json"))):
            raise Conflict(f"ledger of {self.model}: entry {entry.seq} was written by another run")
        return entry

    def _paths(self) -> list[str]:
        return self._store.list(f"ledger/{self.model}/")

    def _parsed(self, path: str, content: bytes | None) -> Entry:
        try:
            return Entry.model_validate_json(content or b"")
        except ValidationError:
            raise Tampered(f"ledger of {self.model}: {path} is not an entry; restore it") from None


def models_of(store: Store) -> list[str]:
    """The models that have a ledger in a store, those without a spec any more included."""
    return sorted({path.split("/")[1] for path in store.list("ledger/")})


def verify(entries: list[Entry], model: str = "", known: Sequence[Entry] = ()) -> list[Entry]:
    """Return the entries when they go on the chain of the `known` ones; raise Tampered at the first break."""
    prev = known[-1].hash if known else GENESIS
    for position, entry in enumerate(entries, start=len(known)):
        if (entry.seq, entry.prev, entry.hash) != (position, prev, entry.digest()):
            raise Tampered(
                f"ledger of {model}: entry {position} was changed, removed or reordered; "
                "restore the folder from a backup"
            )
        prev = entry.hash
    return entries


def verify_anchor(entries: list[Entry], seq: int, digest: str) -> None:
    """Raise Tampered when the chain ends before, or differs at, an entry anchored elsewhere."""
    if len(entries) <= seq or entries[seq].hash != digest:
        raise Tampered(f"ledger: entry {seq}, anchored in the registry, was cut off or replaced")
