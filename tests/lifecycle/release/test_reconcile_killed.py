"""Reconcile dies between any two of its effects on a real MLflow; the next one makes all equal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from include.lifecycle.model.registry import Registry
from include.lifecycle.release.billing import use
from include.lifecycle.release.decisions import Actor, record
from include.lifecycle.release.document import read_release
from include.lifecycle.release.moves import roll_back
from include.lifecycle.release.reconcile import aliases, reconcile, release_document
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt
from include.lifecycle.store.usage import Attempt, Usage
from tests.lifecycle import tiny
from tests.lifecycle.release.test_costs import PRICES
from tests.lifecycle.tiny import ACTOR, MODEL, Project, midnight

_EFFECTS: tuple[tuple[type, str], ...] = (
    (Store, "replace"),
    (Store, "remove"),
    (MlflowClient, "set_registered_model_alias"),
    (MlflowClient, "delete_registered_model_alias"),
    (MlflowClient, "set_registered_model_tag"),
)


class Killed(BaseException):
    """The end of a process, which nothing in it may answer."""


class Executioner:
    """Ends a process before one of its effects."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        for owner, name in _EFFECTS:
            monkeypatch.setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            if self.left is not None:
                if self.left == 0:
                    raise Killed
                self.left -= 1
            return effect(*args, **kwargs)

        return watched


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """MLflow with three versions of the model, none with an alias."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    client.create_registered_model(MODEL)
    for _ in range(3):
        client.create_model_version(MODEL, source=f"file://{tmp_path}")
    return Registry(uri)


def _decide(world: Project, trained: Receipt) -> None:
    """Change everything that reconcile projects: champion, previous, candidate, costs and head."""
    who = Actor(name="anna", run_id="by hand")
    record(world.ledger, roll_back(None, "too many late", who, world.ledger.entries()[-1].at), who)
    attempt = Attempt(id="one", where="process", usage=Usage(cpu_seconds=3600))
    record(world.ledger, use(attempt, trained.call, PRICES), ACTOR)
    tiny.propose_version(world, tiny.train_as_of(world, midnight(23)), "3")


def test_killed_between_any_two_effects_the_next_one_makes_all_equal(
    world: Project, trained: Receipt, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.crown(world, tiny.train_as_of(world, midnight(20)), "1")
    tiny.crown(world, trained, "2")
    reconcile(MODEL, world.store, registry)
    _decide(world, trained)
    executioner = Executioner(monkeypatch)
    for deaths in range(50):
        executioner.left = min(deaths, 1)  # the first dies before any effect, each later one after one more
        try:
            state = reconcile(MODEL, world.store, registry)
        except Killed:
            continue
        break
    assert deaths > len(("document", "champion", "previous", "candidate", "tags", "head"))
    registered = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_registered_model(MODEL)
    wanted = {alias: version for alias, version in aliases(state).items() if version is not None}
    assert {alias: str(version) for alias, version in registered.aliases.items()} == wanted
    assert wanted == {"champion": "1", "candidate": "3"}
    assert registry.anchor(MODEL) == (state.seq, state.hash)
    assert read_release(MODEL, world.store) == release_document(MODEL, state, world.store)
