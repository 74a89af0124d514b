"""The release document: what a server must answer with, a projection of the ledger.

Each ledger entry has one of its own, and that of the newest counts: so whoever is slow to write an
older one puts it over none.
"""

from __future__ import annotations

import re

from pydantic import ValidationError

from include.lifecycle.spec.quantities import Instant
from include.lifecycle.spec.value import Value, canonical_json
from include.lifecycle.store.objects import Output, Store

FOLDER = "releases/"
_PATH = re.compile(rf"{FOLDER}[a-z][a-z0-9_]{{0,62}}/\d{{12}}\.json")
_KEPT = 20
"""Documents of a model: servers that read one of them meanwhile still find it."""


class Release(Value):
    """One version on its way to users, with the files that a server loads."""

    version: str
    run_key: str
    as_of: Instant
    package: dict[str, Output]


class ReleaseDocument(Value):
    """The releases of one model, as of one ledger entry."""

    model: str
    seq: int
    """Number of the ledger entry that this document follows from."""
    champion: Release | None = None
    candidate: Release | None = None
    """The version that is compared with the champion on live requests."""
    share: float = 0
    """Of requests that the candidate answers, chosen by their key; 0: it scores copies alone."""
    slow_seconds: float = 0.05
    """A request that takes longer counts as slow."""
    slice_by: str | None = None
    """An input; rows that both scored are counted for each of its values."""


def release_path(model: str, seq: int) -> str:
    """Where the release document of a ledger entry lies in the store."""
    return f"{FOLDER}{model}/{seq:012d}.json"


def newest_paths(store: Store) -> dict[str, str]:
    """Where the release document that counts lies, by model."""
    return {path.split("/")[1]: path for path in store.list(FOLDER) if _PATH.fullmatch(path)}


def read_release(model: str, store: Store) -> ReleaseDocument | None:
    """The release document of a model; None before its first release, or where it is unreadable:
    being a projection, it is then written again."""
    paths = store.list(f"{FOLDER}{model}/")
    try:
        return ReleaseDocument.model_validate_json(store.get(paths[-1]) or b"") if paths else None
    except ValidationError:
        return None


def write_release(document: ReleaseDocument, store: Store) -> None:
    """Write a model's release document, unless it is there; of those before it a few are kept."""
    path = release_path(document.model, document.seq)
    content = canonical_json(document.model_dump(mode="json"))
    if store.get(path) == content:
        return
    store.replace(path, content)
    for old in store.list(f"{FOLDER}{document.model}/")[:-_KEPT]:
        store.remove(old)
