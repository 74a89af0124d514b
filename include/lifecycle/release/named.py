"""Which training made the version that a person names?"""

from __future__ import annotations

from include.lifecycle.errors import Rejected
from include.lifecycle.release.fold import fold
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store


def training_of(model: str, version: str | None, store: Store, *, to: str) -> tuple[str, str]:
    """A version (None: the champion), and the run key of its training; `to` says for what, such as "score".

    Raises Rejected for a version that the ledger does not know.
    """
    entries = Ledger(store, model).entries()
    if version is None:
        if (champion := fold(entries).champion) is None:
            raise Rejected(f"{model} has no champion: say which version to {to}")
        return champion.version, champion.run_key
    known = {entry.data["version"]: entry.data["run_key"] for entry in entries if entry.event == "proposed"}
    if version not in known:
        raise Rejected(f"{model} has no version {version}; it has: {', '.join(known) or 'none'}")
    return version, known[version]
