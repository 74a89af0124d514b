from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from include.lifecycle.errors import InFlight, Rejected
from include.lifecycle.release.decisions import (
    Actor,
    begin_training,
    end_training,
    newest_proposal,
    propose,
    record,
    roll_back,
    settle,
    stale,
    supersede_older,
)
from include.lifecycle.release.state import ModelState, Proposal, Training, fold
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store

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
    record(ledger, settle(_proposal("1"), promote=True, why="good"), NIGHTLY)
    assert record(ledger, propose(_proposal("1"), "retry after the decision"), NIGHTLY) is None


def test_the_newest_proposal_knows_most(ledger: Ledger) -> None:
    for proposal in (_proposal("9", day=1), _proposal("10", day=1), _proposal("11", day=0)):
        record(ledger, propose(proposal, "passed"), NIGHTLY)
    assert newest_proposal(_state(ledger)) == _proposal("10", day=1)
    assert newest_proposal(ModelState()) is None


def test_older_proposals_are_superseded_one_by_one_until_the_newest_is_left(ledger: Ledger) -> None:
    for version in ("1", "2", "3"):
        record(ledger, propose(_proposal(version, day=int(version)), "passed"), NIGHTLY)
    count = 0
    while record(ledger, supersede_older(_proposal("3", day=3)), NIGHTLY):
        count += 1
    assert count == 2
    assert [item.version for item in _state(ledger).undecided] == ["3"]


def test_a_settled_proposal_is_not_settled_again(ledger: Ledger) -> None:
    record(ledger, propose(_proposal("1"), "passed"), NIGHTLY)
    assert record(ledger, settle(_proposal("1"), promote=False, why="weak"), NIGHTLY)
    assert record(ledger, settle(_proposal("1"), promote=True, why="retry"), NIGHTLY) is None
    assert _state(ledger).champion is None


@pytest.mark.parametrize("day", [-1, 0])
def test_a_champion_that_became_newer_meanwhile_turns_promotion_into_rejection(
    ledger: Ledger, day: int
) -> None:
    for proposal in (_proposal("2", day=day), _proposal("1", day=0)):
        record(ledger, propose(proposal, "passed"), NIGHTLY)
    decide = settle(_proposal("2", day=day), promote=True, why="passed its gates")
    record(ledger, settle(_proposal("1"), promote=True, why="quicker"), BACKFILL)
    entry = record(ledger, decide, NIGHTLY)
    assert entry is not None
    assert entry.event == "rejected"
    assert "not newer than the champion, version 1" in entry.why
    champion = _state(ledger).champion
    assert champion is not None
    assert champion.version == "1"


@pytest.mark.parametrize(("day", "may"), [(-30, False), (0, False), (1, True)])
def test_only_a_newer_proposal_may_replace_the_champion(day: int, may: bool) -> None:
    assert (stale(_proposal("2", day=day), _proposal("1")) is None) == may
    assert stale(_proposal("2", day=day), None) is None


def _crown(ledger: Ledger, *versions: str) -> None:
    for version in versions:
        record(ledger, propose(_proposal(version, day=int(version)), "passed"), NIGHTLY)
        record(ledger, settle(_proposal(version, day=int(version)), promote=True, why="good"), NIGHTLY)


def _roll_back(ledger: Ledger, to: str | None = None, run: str = "one", ago: timedelta = timedelta(0)) -> str:
    actor = Actor("ann", run)
    record(ledger, roll_back(to, "it misbehaves", actor, datetime.now(UTC) - ago), actor)
    champion = _state(ledger).champion
    assert champion is not None
    return champion.version


def test_a_rollback_goes_to_the_champion_before_or_to_the_one_that_is_named(ledger: Ledger) -> None:
    _crown(ledger, "1", "2", "3", "4")
    assert _roll_back(ledger) == "3"
    assert _roll_back(ledger, "1", run="two") == "1"
    (newest,) = ledger.entries()[-1:]
    assert (newest.event, newest.why, newest.actor) == ("rolled_back", "it misbehaves", "ann")


def test_a_rollback_that_is_tried_again_does_not_go_back_twice(ledger: Ledger) -> None:
    _crown(ledger, "1", "2", "3")
    assert [_roll_back(ledger), _roll_back(ledger)] == ["2", "2"]


def test_of_two_who_ask_at_once_the_second_is_told_to_look_again(ledger: Ledger) -> None:
    _crown(ledger, "1", "2", "3")
    _roll_back(ledger)
    with pytest.raises(Rejected, match="version 2 became champion after this was asked for: look again"):
        _roll_back(ledger, run="two", ago=timedelta(seconds=5))
    assert _roll_back(ledger, "1", run="three", ago=timedelta(seconds=5)) == "1"


@pytest.mark.parametrize(
    ("champions", "to", "words"),
    [
        ("", None, "no version is champion yet"),
        ("1", None, "no version to go back to is left; champions before version 1: none"),
        ("12", "2", "version 2 is champion already"),
        ("12", "7", "version 7 was never champion; champions before version 2: 1"),
    ],
)
def test_a_rollback_to_nowhere_is_refused_with_the_reason(
    ledger: Ledger, champions: str, to: str | None, words: str
) -> None:
    _crown(ledger, *champions)
    before = ledger.length()
    actor = Actor("ann", "one")
    with pytest.raises(Rejected, match=words):
        record(ledger, roll_back(to, "why", actor, datetime.now(UTC)), actor)
    assert ledger.length() == before


def test_a_version_that_was_rolled_back_is_not_proposed_again_but_a_newer_one_is(ledger: Ledger) -> None:
    for version in ("1", "2"):
        record(ledger, begin_training(_training(f"key-{version}", int(version)), "nightly", NIGHTLY), NIGHTLY)
        _crown(ledger, version)
    _roll_back(ledger)
    assert record(ledger, propose(_proposal("2", day=2), "trained again"), NIGHTLY) is None
    _crown(ledger, "3")
    champion, previous = _state(ledger).champion, _state(ledger).previous
    assert (champion and champion.version, previous and previous.version) == ("3", "1")


@pytest.mark.parametrize("place", ["folder", pytest.param("s3", marks=pytest.mark.s3)])
def test_of_a_hundred_promoters_at_once_one_wins_and_each_loser_is_told_why(
    place: str, store: Store, request: pytest.FixtureRequest
) -> None:
    ledger = Ledger(store if place == "folder" else request.getfixturevalue("s3_store"), "late")
    for version in map(str, range(1, 101)):
        record(ledger, propose(_proposal(version), "passed"), NIGHTLY)

    def promote(number: int) -> str:
        actor = Actor("ann", f"run-{number}")
        entry = record(ledger, settle(_proposal(str(number)), promote=True, why="good"), actor)
        assert entry is not None
        return f"{entry.event}: {entry.why}"

    with ThreadPoolExecutor(100) as pool:
        told = list(pool.map(promote, range(1, 101)))
    winner = _state(ledger).champion
    assert winner is not None
    day = f"{winner.as_of:%Y-%m-%d}"
    lost = f"rejected: as of {day} is not newer than the champion, version {winner.version} as of {day}"
    assert sorted(told) == sorted(["promoted: good", *[lost] * 99])
    assert _state(ledger).undecided == ()
