"""The release documents of all models side by side, as a ConfigMap holds them: which of two counts?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from include.lifecycle.release.document import ReleaseDocument
from include.lifecycle.spec.value import canonical_json


@dataclass(frozen=True)
class Change:
    """What all documents are to be, by model; None when they are to stay as they are."""

    documents: Mapping[str, str] | None
    why: str


def with_document(documents: Mapping[str, str], new: ReleaseDocument) -> Change:
    """The documents with this one in its model's place, unless a newer one is there.

    One of the same ledger entry, or one that cannot be read, was changed by hand and is written again.
    """
    text = canonical_json(new.model_dump(mode="json")).decode()
    found = documents.get(new.model)
    if found == text:
        return Change(None, f"the document of entry {new.seq} is there")
    seq = _seq(new.model, found)
    if seq is not None and seq > new.seq:
        return Change(None, f"the document of entry {seq} is there, which is newer than {new.seq}")
    before = "nothing" if found is None else "an unreadable one" if seq is None else f"entry {seq}"
    return Change({**documents, new.model: text}, f"the document of entry {new.seq} replaces {before}")


def _seq(model: str, text: str | None) -> int | None:
    try:
        document = ReleaseDocument.model_validate_json(text or "")
    except ValidationError:
        return None
    return document.seq if document.model == model else None
