from datetime import UTC, datetime, timedelta

import pytest

from include.lifecycle.errors import InFlight, Rejected
from include.lifecycle.release.decisions import Actor, Draft, begin_training, end_training, record
from include.lifecycle.release.state import Training
from include.lifecycle.steps.planning import PlannedTraining, plan_training
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.receipts import Receipt, read_call
from tests.lifecycle import tiny
from tests.lifecycle.tiny import MODEL, Project, midnight

NIGHTLY = Actor("late.train", "late.train/scheduled__25")
BACKFILL = Actor("ann", "late.train/backfill__22")


def _plan(
    project: Project, slot: datetime, actor: Actor = NIGHTLY, *, asked_for: bool = False
) -> PlannedTraining:
    return plan_training(MODEL, project.catalog, project.store, slot=slot, asked_for=asked_for, actor=actor)


def test_the_first_night_trains_as_of_where_the_data_end(world: Project) -> None:
    planned = _plan(world, midnight(300))
    assert planned.why == "first training"
    assert planned.as_of == midnight(25)
    assert planned.run_key is not None
    assert read_call(planned.run_key, world.store).as_of == midnight(25)
    lease = world.state().lease
    assert lease is not None
    assert (lease.run_key, lease.holder) == (planned.run_key, NIGHTLY.run_id)


def test_a_backfill_of_a_past_day_trains_as_of_that_day(world: Project) -> None:
    assert _plan(world, midnight(22), BACKFILL, asked_for=True).as_of == midnight(22)


def test_nightly_and_backfill_at_once_make_one_training(world: Project) -> None:
    first = _plan(world, midnight(25))
    for slot in (midnight(25), midnight(22)):
        with pytest.raises(InFlight, match=r"late.train/scheduled__25 is in flight"):
            _plan(world, slot, BACKFILL, asked_for=True)
    assert [training.run_key for training in world.state().trainings] == [first.run_key]
    assert [entry.event for entry in world.ledger.entries()] == ["training"]


def test_two_actors_who_plan_the_same_day_plan_the_same_call(world: Project) -> None:
    first = _plan(world, midnight(25), NIGHTLY)
    record(world.ledger, end_training(first.run_key or "", first.as_of, "failed", "died"), NIGHTLY)
    assert _plan(world, midnight(26), BACKFILL, asked_for=True).run_key == first.run_key


def test_a_retried_run_goes_on_with_its_own_lease_and_asks_nobody_again(world: Project) -> None:
    first = _plan(world, midnight(25))
    again = _plan(world, midnight(25))
    assert again.run_key == first.run_key
    assert len(world.ledger.entries()) == 1


def test_the_lease_of_a_run_that_died_expires(world: Project) -> None:
    dead = Training(run_key="d" * 64, as_of=midnight(20), fingerprint="f", drift=False)
    begin = begin_training(dead, "dies", BACKFILL, lease=timedelta(seconds=-1))
    record(world.ledger, begin, BACKFILL)
    planned = _plan(world, midnight(25), asked_for=True)
    lease = world.state().lease
    assert lease is not None
    assert lease.run_key == planned.run_key


def test_a_training_that_was_proposed_is_nothing_new_even_when_asked_for(
    world: Project, trained: Receipt
) -> None:
    tiny.propose_version(world, trained, "1", NIGHTLY)
    planned = _plan(world, midnight(22), BACKFILL, asked_for=True)
    assert planned.run_key is None
    assert "nothing new" in planned.why
    assert world.state().lease is None


def test_a_training_that_a_gate_rejected_is_nothing_new(world: Project) -> None:
    first = _plan(world, midnight(25))
    run_step(read_call(first.run_key or "", world.store), world.store)
    record(world.ledger, end_training(first.run_key or "", first.as_of, "rejected", "weak"), NIGHTLY)
    assert _plan(world, midnight(25), BACKFILL, asked_for=True).run_key is None


def test_a_scheduled_run_asks_the_governor_and_a_person_does_not(world: Project, trained: Receipt) -> None:
    tiny.crown(world, trained, "1")
    tiny.put_days(world, 25, 25)
    planned = _plan(world, midnight(24))
    assert planned.run_key is None
    assert "nothing new: the last training is 2d old" in planned.why
    assert _plan(world, midnight(24), BACKFILL, asked_for=True).why == "asked for by ann"


def test_a_wish_to_retrain_is_granted_and_used_up_by_the_next_training(
    world: Project, trained: Receipt
) -> None:
    tiny.crown(world, trained, "1")
    _wish(world)
    planned = _plan(world, midnight(25))
    assert planned.why == "2 of 3 are bad"
    state = world.state()
    assert state.retrain is None
    assert state.trainings[-1].drift


def test_a_backfilled_training_of_a_past_day_leaves_todays_wish_to_retrain(
    world: Project, trained: Receipt
) -> None:
    tiny.crown(world, trained, "1")
    _wish(world)
    backfilled = _plan(world, midnight(19), BACKFILL, asked_for=True)
    record(world.ledger, end_training(backfilled.run_key or "", backfilled.as_of, "failed", "done"), BACKFILL)
    assert world.state().retrain == "2 of 3 are bad"
    assert not world.state().trainings[-1].drift
    assert _plan(world, midnight(25)).why == "2 of 3 are bad"


def _wish(world: Project) -> None:
    wish = Draft(event="retrain", as_of=midnight(25), why="2 of 3 are bad")
    record(world.ledger, lambda state: wish, NIGHTLY)


def test_without_rows_a_person_is_told_what_to_run_and_a_night_passes(project: Project) -> None:
    with pytest.raises(Rejected, match=r"run trips.ingest first"):
        _plan(project, midnight(25), asked_for=True)
    planned = _plan(project, midnight(25))
    assert planned.run_key is None
    assert "no published partition" in planned.why


def test_a_nightly_run_of_today_trains_no_ended_dataset_again(world: Project) -> None:
    today = datetime.now(UTC)
    first = _plan(world, today)
    record(world.ledger, end_training(first.run_key or "", first.as_of, "rejected", "a gate"), NIGHTLY)
    entries = len(world.ledger.entries())

    planned = _plan(world, today + timedelta(days=365))

    assert planned.run_key is None
    assert "nothing new" in planned.why
    assert len(world.ledger.entries()) == entries
