"""The release document: what a server must answer with, a projection of the ledger."""

from __future__ import annotations

from pydantic import ValidationError

from include.lifecycle.spec.quantities import Instant
from include.lifecycle.spec.value import Value, canonical_json
from include.lifecycle.store.objects import Output, Store


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


def release_path(model: str) -> str:
    """Where a model's release document lies in the store."""
    return f"releases/{model}.json"


def read_release(model: str, store: Store) -> ReleaseDocument | None:
    """The release document of a model; None before its first release, or where it is unreadable:
    being a projection, it is then written again."""
    try:
        return ReleaseDocument.model_validate_json(store.get(release_path(model)) or b"")
    except ValidationError:
        return None


def write_release(document: ReleaseDocument, store: Store) -> None:
    """Replace a model's release document."""
    store.replace(release_path(document.model), canonical_json(document.model_dump(mode="json")))
