"""Makes registry and release document equal to the ledger; safe to run at any time."""

from __future__ import annotations

from include.lifecycle.model.packaging import package_of
from include.lifecycle.model.registry import Registry
from include.lifecycle.release.costs import month_tags
from include.lifecycle.release.document import Release, ReleaseDocument, read_release, write_release
from include.lifecycle.release.state import ModelState, fold
from include.lifecycle.store.ledger import Ledger, verify_anchor
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import read_receipt


def reconcile(model: str, store: Store, registry: Registry) -> ModelState:
    """Set aliases, tags, anchor and release document from the fold; returns the state they follow from.

    Raises Tampered when the ledger was changed or cut since the registry was last told of it.
    """
    entries = Ledger(store, model).entries()
    if (anchored := registry.anchor(model)) is not None:
        verify_anchor(entries, *anchored)
    state = fold(entries)
    registry.set_aliases(model, aliases(state))
    document = release_document(model, state, store)
    published = read_release(model, store)
    if published is None or (published.seq <= document.seq and published != document):
        write_release(document, store)
    registry.set_tags(model, month_tags(state.usage))
    registry.set_anchor(model, state.seq, state.hash)
    return state


def aliases(state: ModelState) -> dict[str, str | None]:
    """Which version each alias names."""
    newest = state.undecided[-1].version if state.undecided else None
    return {
        "champion": state.champion.version if state.champion else None,
        "previous": state.previous.version if state.previous else None,
        "candidate": newest,
    }


def release_document(model: str, state: ModelState, store: Store) -> ReleaseDocument:
    """What servers must answer with, after the newest ledger entry."""
    champion = state.champion
    if champion is None:
        return ReleaseDocument(model=model, seq=state.seq)
    trained = read_receipt(champion.run_key, store)
    release = Release(
        version=champion.version,
        run_key=champion.run_key,
        as_of=champion.as_of,
        package=package_of(trained.outputs),
    )
    return ReleaseDocument(model=model, seq=state.seq, champion=release)
