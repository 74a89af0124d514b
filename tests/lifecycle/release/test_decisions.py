from datetime import UTC, datetime, timedelta

import pytest

from include.lifecycle.errors import InFlight
from include.lifecycle.release.decisions import Actor, begin_training, end_training, propose, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.state import ModelState, Proposal, Training
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store
from tests.lifecycle import tiny

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
NIGHTLY, BACKFILL = Actor("late.train", "late.train/nightly"), Actor("ann", "late.train/backfill")


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store, "late")


def _state(ledger: Ledger) -> ModelState:
    return fold(ledger.entries())


def _training(run_key: str = "a", day: int = 0) -> Training:
    return Training(run_key=run_key, as_of=AS_OF + timedelta(days=day), fingerprint="f", drift=False)


def _proposal(version: str, day: int = 0, run_key: str | None = None) -> Proposal:
    as_of = AS_OF + timedelta(days=day)
    return Proposal(version=version, run_key=run_key or f"key-{version}", as_of=as_of, evaluation="e")


def test_of_two_trainings_at_once_one_gets_the_lease(ledger: Ledger) -> None:
    assert record(ledger, begin_training(_training(), "nightly", NIGHTLY), NIGHTLY)
    with pytest.raises(InFlight, match=r"late.train/nightly is in flight"):
        record(ledger, begin_training(_training(), "backfill", BACKFILL), BACKFILL)
    assert [entry.event for entry in ledger.entries()] == ["training"]


def test_a_retried_run_goes_on_with_its_lease(ledger: Ledger) -> None:
    record(ledger, begin_training(_training(), "nightly", NIGHTLY), NIGHTLY)
    assert record(ledger, begin_training(_training(), "retry", NIGHTLY), NIGHTLY) is None


def test_a_retried_run_whose_data_changed_begins_another_training_under_its_lease(ledger: Ledger) -> None:
    record(ledger, begin_training(_training("a"), "nightly", NIGHTLY), NIGHTLY)
    record(ledger, begin_training(_training("b"), "retry", NIGHTLY), NIGHTLY)
    lease = _state(ledger).lease
    assert lease is not None
    assert (lease.run_key, lease.holder) == ("b", NIGHTLY.run_id)


def test_an_expired_lease_can_be_taken_by_another_run(ledger: Ledger) -> None:
    record(ledger, begin_training(_training(), "dies", NIGHTLY, lease=timedelta(seconds=-1)), NIGHTLY)
    assert record(ledger, begin_training(_training(), "takes over", BACKFILL), BACKFILL)
    lease = _state(ledger).lease
    assert lease is not None
    assert lease.holder == BACKFILL.run_id


def test_a_training_ends_once_and_only_if_it_began(ledger: Ledger) -> None:
    assert record(ledger, end_training("a", AS_OF, "failed", "never began"), NIGHTLY) is None
    record(ledger, begin_training(_training(), "nightly", NIGHTLY), NIGHTLY)
    assert record(ledger, end_training("a", AS_OF, "failed", "bad data"), NIGHTLY)
    assert record(ledger, end_training("a", AS_OF, "rejected", "again"), NIGHTLY) is None
    assert record(ledger, begin_training(_training("b"), "next", BACKFILL), BACKFILL)


def test_a_version_is_proposed_once(ledger: Ledger) -> None:
    record(ledger, begin_training(_training("key-1"), "nightly", NIGHTLY), NIGHTLY)
    assert record(ledger, propose(_proposal("1"), "passed"), NIGHTLY)
    assert record(ledger, propose(_proposal("1"), "retry"), NIGHTLY) is None
    tiny.promote(ledger, "1")
    assert record(ledger, propose(_proposal("1"), "retry after the decision"), NIGHTLY) is None
