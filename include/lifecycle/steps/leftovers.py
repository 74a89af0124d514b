"""What lies in the store that nobody needs any more: outputs that no receipt came to name, checkpoints of
trainings that are done or given up, files that a killed process had half written. It is removed.

Files of tables that were never committed are none of these: `maintain` removes them.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from include.lifecycle.spec.value import Value
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import is_damaged, receipt_path

_DATA = {"objects", "checkpoints", "tables", "quarantine", "landing"}
"""Folders whose files name no output. Everything else may, whoever wrote it and whatever it is."""
_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_READERS = 16


class Leftover(Value):
    """Something in the store that goes, and why."""

    path: str
    why: str


class Cleaned(Value):
    """What was removed, and what was found that only people can mend."""

    removed: tuple[Leftover, ...]
    damaged: tuple[str, ...]
    """Calls and receipts whose bytes are not those that were written."""


class Document(Value):
    """What an object says that is no data."""

    digests: frozenset[str]
    damaged: bool


def clean_store(store: Store, now: datetime, grace: timedelta) -> Cleaned:
    """Remove what nobody needs and nobody wrote for `grace`; run again, it finds nothing.

    An output is needed when its sha256 stands anywhere in the store outside of data: in receipts, calls,
    ledgers, releases, plans of erasures. `grace` must be longer than any step takes from its first output
    to its receipt. Raises Transient, and removes nothing, when not everything could be read; no output goes
    while a call or a receipt is damaged, since that may have named it.
    """
    before = now - grace
    # Outputs first: whoever comes to name one later writes it again, which is seen when it is removed.
    written = store.written("objects") | store.written("checkpoints")
    documents = _documents(store)
    damaged = tuple(sorted(path for path, document in documents.items() if document.damaged))
    found = stale_checkpoints(written, documents.keys() - damaged, before)
    if not damaged:
        found += unnamed_outputs(written, documents, before)
    removed = [item for item in found if _removed(item, written[item.path], store)]
    removed += [
        Leftover(path=path, why="half written by a process that is gone")
        for path in store.remove_half_written(before)
    ]
    return Cleaned(removed=tuple(removed), damaged=damaged)


def unnamed_outputs(
    written: Mapping[str, datetime], documents: Mapping[str, Document], before: datetime
) -> list[Leftover]:
    """The outputs that no document names and nobody wrote since a moment; `written` is when each was."""
    named = set[str]().union(*(document.digests for document in documents.values()))
    return [
        Leftover(path=path, why=f"nothing names it since it was written, {at:%Y-%m-%d %H:%M} UTC")
        for path, at in sorted(written.items())
        if path.startswith("objects/") and at < before and path.rpartition("/")[2] not in named
    ]


def stale_checkpoints(
    written: Mapping[str, datetime], intact: Container[str], before: datetime
) -> list[Leftover]:
    """The checkpoints of runs that have their receipt, and of those where nothing was saved since a moment:
    whoever clears a failed training in time goes on where it was."""
    newest: dict[str, datetime] = {}
    for path, at in written.items():
        if path.startswith("checkpoints/"):
            run_key = path.split("/")[1]
            newest[run_key] = max(at, newest.get(run_key, at))
    why = {
        run_key: "its step is done"
        if receipt_path(run_key) in intact
        else f"nobody went on from it since {at:%Y-%m-%d %H:%M} UTC"
        for run_key, at in newest.items()
        if receipt_path(run_key) in intact or at < before
    }
    return [
        Leftover(path=path, why=why[run_key])
        for path in sorted(written)
        if path.startswith("checkpoints/") and (run_key := path.split("/")[1]) in why
    ]


def _documents(store: Store) -> dict[str, Document]:
    """Everything in the store that is no data, by path."""
    paths = [path for folder in store.folders() if folder not in _DATA for path in store.list(folder)]
    with ThreadPoolExecutor(_READERS) as readers:
        return dict(zip(paths, readers.map(lambda path: _read(path, store), paths), strict=True))


def _read(path: str, store: Store) -> Document:
    content = store.get(path)
    if content is None:  # removed since it was listed
        return Document(digests=frozenset(), damaged=False)
    digests = frozenset(digest.decode() for digest in _DIGEST.findall(content))
    return Document(digests=digests, damaged=is_damaged(path, content))


def _removed(item: Leftover, written: datetime, store: Store) -> bool:
    """Remove it, unless somebody wrote it since it was listed."""
    at = store.written_at(item.path)
    if at is None or at > written:
        return False
    store.remove(item.path)
    return True
