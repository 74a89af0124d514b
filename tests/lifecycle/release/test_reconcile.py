from collections.abc import Mapping
from typing import cast

import pytest

from include.lifecycle.errors import Tampered
from include.lifecycle.model.registry import Registry
from include.lifecycle.release.billing import use
from include.lifecycle.release.decisions import Draft, propose, record
from include.lifecycle.release.document import ReleaseDocument, read_release, write_release
from include.lifecycle.release.reconcile import publish, reconcile
from include.lifecycle.release.state import ModelState
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt
from include.lifecycle.store.usage import Attempt, Usage
from tests.lifecycle import tiny
from tests.lifecycle.release.fake_registry import FakeRegistry
from tests.lifecycle.release.test_costs import PRICES
from tests.lifecycle.tiny import ACTOR, MODEL, Project, midnight


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


def _reconcile(project: Project, registry: FakeRegistry) -> ModelState:
    return reconcile(MODEL, project.store, cast(Registry, registry))


def test_registry_and_document_follow_the_fold(
    world: Project, trained: Receipt, registry: FakeRegistry
) -> None:
    older = tiny.train_as_of(world, midnight(20))
    tiny.crown(world, older, "1")
    tiny.crown(world, trained, "2")
    record(
        world.ledger, propose(tiny.proposal_of(tiny.train_as_of(world, midnight(21)), "3"), "waits"), ACTOR
    )
    state = _reconcile(world, registry)
    assert state == world.state()
    assert registry.aliases == {"champion": "2", "previous": "1", "candidate": "3"}
    assert registry.anchored == (state.seq, state.hash)
    document = read_release(MODEL, world.store)
    assert document is not None
    assert document.champion is not None
    assert (document.seq, document.champion.version, document.champion.as_of) == (
        state.seq,
        "2",
        midnight(22),
    )
    package = ("booster.ubj", "features.py", "model.onnx", "predictor.json", "predictor.py")
    assert document.champion.package == {name: trained.outputs[name] for name in package}


def test_the_registered_model_shows_what_each_month_cost(
    world: Project, trained: Receipt, registry: FakeRegistry
) -> None:
    tiny.crown(world, trained, "1")
    for number in range(2):
        attempt = Attempt(id=str(number), where="process", usage=Usage(cpu_seconds=3600 * 62))
        record(world.ledger, use(attempt, trained.call, PRICES), ACTOR)
        _reconcile(world, registry)
        (month,) = world.state().usage
        assert registry.tags[f"cost.{month}"] == f"{2.48 * (number + 1):.2f} EUR"
        assert registry.tags[f"cpu_hours.{month}"] == f"{62 * (number + 1)}.00"


def test_running_it_twice_changes_nothing(world: Project, trained: Receipt, registry: FakeRegistry) -> None:
    tiny.crown(world, trained, "1")
    _reconcile(world, registry)
    before = registry.writes, world.store.written("releases/")
    _reconcile(world, registry)
    assert (registry.writes, world.store.written("releases/")) == before


def test_a_registry_that_was_changed_by_hand_is_set_right(
    world: Project, trained: Receipt, registry: FakeRegistry
) -> None:
    tiny.crown(world, trained, "1")
    _reconcile(world, registry)
    registry.aliases = {"champion": "7"}
    _reconcile(world, registry)
    assert registry.aliases == {"champion": "1"}


def test_a_document_that_was_changed_by_hand_is_set_right(
    world: Project, trained: Receipt, registry: FakeRegistry
) -> None:
    tiny.crown(world, trained, "1")
    state = _reconcile(world, registry)
    right = read_release(MODEL, world.store)
    write_release(ReleaseDocument(model=MODEL, seq=state.seq), world.store)
    _reconcile(world, registry)
    assert read_release(MODEL, world.store) == right


def test_a_slow_reconcile_does_not_put_an_older_document_over_a_newer_one(
    world: Project, trained: Receipt, registry: FakeRegistry
) -> None:
    tiny.crown(world, trained, "1")
    newer = ReleaseDocument(model=MODEL, seq=99)
    write_release(newer, world.store)
    _reconcile(world, registry)
    assert read_release(MODEL, world.store) == newer


def test_a_reconcile_that_was_overtaken_begins_again(world: Project, trained: Receipt) -> None:
    """The other one decided, and was done, between this one's reading and its writing."""

    class Overtaken(FakeRegistry):
        def set_aliases(self, model: str, aliases: Mapping[str, str | None]) -> None:
            if not self.aliases:
                tiny.crown(world, trained, "2")
                self.aliases = {"champion": "2", "previous": "1"}
            super().set_aliases(model, aliases)

    tiny.crown(world, tiny.train_as_of(world, midnight(20)), "1")
    registry = Overtaken()
    assert _reconcile(world, registry) == world.state()
    assert registry.aliases == {"champion": "2", "previous": "1"}


def test_traffic_can_follow_a_decision_without_the_registry(world: Project, trained: Receipt) -> None:
    tiny.crown(world, trained, "1")
    publish(MODEL, world.store)
    document = read_release(MODEL, world.store)
    assert document is not None
    assert document.champion is not None
    assert document.champion.version == "1"


def test_of_older_documents_a_few_are_kept(world: Project, trained: Receipt, registry: FakeRegistry) -> None:
    tiny.crown(world, trained, "1")
    for _ in range(30):
        record(world.ledger, lambda state: Draft(event="window", as_of=midnight(1), why="", data={}), ACTOR)
        publish(MODEL, world.store)
    assert len(world.store.list("releases/")) == 20
    document = read_release(MODEL, world.store)
    assert document is not None
    assert document.seq == world.state().seq


def test_before_the_first_release_there_is_no_champion(store: Store, registry: FakeRegistry) -> None:
    state = reconcile(MODEL, store, cast(Registry, registry))
    assert state.champion is None
    assert registry.aliases == {}
    document = read_release(MODEL, store)
    assert document is None or document.champion is None


def test_a_cut_ledger_is_found_and_changes_nothing(
    world: Project, trained: Receipt, registry: FakeRegistry
) -> None:
    """A ledger without its newest entry is a valid chain: only the anchor tells."""
    proposal = tiny.propose_version(world, trained, "1")
    cut = world.root / "cut"
    tiny.promote(world.ledger, "1")
    _reconcile(world, registry)
    before = dict(registry.aliases)
    newest = sorted((world.root / "store/ledger" / MODEL).glob("*.json"))[-1]
    newest.rename(cut)
    assert world.state().champion is None
    with pytest.raises(Tampered, match="anchored in the registry, was cut off"):
        _reconcile(world, registry)
    assert registry.aliases == before
    cut.rename(newest)
    assert _reconcile(world, registry).champion == proposal


def test_a_champion_whose_files_were_changed_is_not_released(
    world: Project, trained: Receipt, registry: FakeRegistry
) -> None:
    tiny.crown(world, trained, "1")
    world.store.replace(
        f"objects/{trained.outputs['booster.ubj'].sha256[:2]}/{trained.outputs['booster.ubj'].sha256}", b"x"
    )
    with pytest.raises(Tampered, match=r"booster.ubj"):
        _reconcile(world, registry)
    assert read_release(MODEL, world.store) is None
