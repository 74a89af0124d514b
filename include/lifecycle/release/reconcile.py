"""Makes registry and release document equal to the ledger; safe to run at any time."""

from __future__ import annotations

from collections.abc import Callable

from include.lifecycle.model.packaging import package_of
from include.lifecycle.model.registry import Registry
from include.lifecycle.release.costs import month_tags
from include.lifecycle.release.document import Release, ReleaseDocument, write_release
from include.lifecycle.release.fold import fold
from include.lifecycle.release.state import ModelState, Proposal
from include.lifecycle.store.ledger import Ledger, verify_anchor
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt, read_receipt

Announce = Callable[[ReleaseDocument], object]
"""Brings a release document to servers that follow it elsewhere than in the store; an older one changes
nothing. Raises Transient where they are not reached."""


def reconcile(model: str, store: Store, registry: Registry, announce: Announce | None = None) -> ModelState:
    """Set release document, aliases, tags and anchor from the fold; returns the state they follow from.

    It begins again when the ledger grew meanwhile: of two at once, the slower one leaves nothing old.
    Raises Tampered when the ledger was changed or cut since the registry was last told of it.
    """
    ledger = Ledger(store, model)
    while True:
        anchored = registry.anchor(model)  # before the entries, which then reach at least as far
        entries = ledger.entries()
        if anchored is not None:
            verify_anchor(entries, *anchored)
        state = fold(entries)
        _write_document(model, state, store, announce)
        registry.set_aliases(model, aliases(state))
        registry.set_tags(model, month_tags(state.usage))
        registry.set_anchor(model, state.seq, state.hash)
        if ledger.length() == len(entries):
            return state


def publish(model: str, store: Store, announce: Announce | None = None) -> None:
    """Write the release document alone: traffic follows a decision also while the registry is away."""
    _write_document(model, fold(Ledger(store, model).entries()), store, announce)


def _write_document(model: str, state: ModelState, store: Store, announce: Announce | None) -> None:
    if state.seq < 0:
        return
    document = release_document(model, state, store)
    write_release(document, store)
    if announce is not None:
        announce(document)


def aliases(state: ModelState) -> dict[str, str | None]:
    """Which version each alias names."""
    candidate = state.candidate or (state.undecided[-1] if state.undecided else None)
    return {
        "champion": state.champion.version if state.champion else None,
        "previous": state.previous.version if state.previous else None,
        "candidate": candidate.version if candidate else None,
    }


def release_document(model: str, state: ModelState, store: Store) -> ReleaseDocument:
    """What servers must answer with, after the newest ledger entry."""
    document = ReleaseDocument(model=model, seq=state.seq, champion=_release(state.champion, store))
    if state.candidate is None:
        return document
    standing = state.standings[state.candidate.version]
    compared = {name: getattr(standing, name) for name in ("share", "slow_seconds", "slice_by")}
    return document.model_copy(update={"candidate": _release(state.candidate, store), **compared})


def release_of(proposal: Proposal, trained: Receipt) -> Release:
    """A version as servers are told of it, with the files that its training made."""
    return Release(
        version=proposal.version,
        run_key=proposal.run_key,
        as_of=proposal.as_of,
        package=package_of(trained.outputs),
    )


def _release(proposal: Proposal | None, store: Store) -> Release | None:
    return release_of(proposal, read_receipt(proposal.run_key, store)) if proposal else None
