"""A version's moves, one by one, all at once, and back."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from include.lifecycle.errors import Rejected
from include.lifecycle.release.decisions import Actor, begin_training, propose, record
from include.lifecycle.release.moves import move, newest_proposal, roll_back, stale, supersede_older
from include.lifecycle.release.state import MOVES, ModelState, Stage
from include.lifecycle.store.ledger import Entry, Ledger
from include.lifecycle.store.objects import Store
from tests.lifecycle import tiny
from tests.lifecycle.release.test_decisions import (
    AS_OF,
    BACKFILL,
    NIGHTLY,
    _proposal,
    _state,
    _training,
    ledger,
)

__all__ = ["ledger"]


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
    assert record(ledger, move("1", "rejected", "weak"), NIGHTLY)
    assert record(ledger, move("1", "staged", "retry"), NIGHTLY) is None
    assert _state(ledger).champion is None


@pytest.mark.parametrize("day", [-1, 0])
def test_a_champion_that_became_newer_meanwhile_turns_promotion_into_rejection(
    ledger: Ledger, day: int
) -> None:
    for proposal in (_proposal("2", day=day), _proposal("1", day=0)):
        record(ledger, propose(proposal, "passed"), NIGHTLY)
    tiny.promote(ledger, "1", "quicker", BACKFILL)
    entry = tiny.promote(ledger, "2")
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


def _approve(ledger: Ledger, *versions: str) -> None:
    """Propose versions and take them to their approval, without reading the ledger again and again."""
    entries: list[Entry] = []
    for version in versions:
        for stage in ("proposed", "staged", "approved"):
            data = _proposal(version).model_dump(mode="json", exclude={"as_of"})
            told = data if stage == "proposed" else {"version": version}
            entries.append(
                ledger.append(stage, after=entries, as_of=AS_OF, why="good", actor="ann", run_id="r", **told)
            )


def _reach(ledger: Ledger, version: str, stage: str) -> None:
    """Take a new version to a stage by legal moves."""
    record(ledger, propose(_proposal(version), "passed"), NIGHTLY)
    way = {
        "proposed": (),
        "staged": ("staged",),
        "approved": ("staged", "approved"),
        "shadow": ("staged", "approved", "shadow"),
        "canary": ("staged", "approved", "shadow", "canary"),
    }
    for step in way[stage]:
        record(ledger, move(version, step, "good", **({"share": 0.1} if step == "canary" else {})), NIGHTLY)
    assert _state(ledger).standings[version].stage == stage


EVERY_MOVE = ("staged", "approved", "shadow", "canary", "promoted", "rejected", "superseded", "aborted")


@pytest.mark.parametrize("stage", MOVES)
@pytest.mark.parametrize("to", EVERY_MOVE)
def test_a_version_makes_legal_moves_and_is_told_why_it_may_make_no_other(
    ledger: Ledger, stage: Stage, to: str
) -> None:
    _reach(ledger, "1", stage)
    decide = move("1", to, "onward", **({"share": 0.5} if to == "canary" else {}))
    if to in MOVES[stage]:
        assert (entry := record(ledger, decide, NIGHTLY)) is not None
        assert entry.event == to
    elif to == stage:
        assert record(ledger, decide, NIGHTLY) is None
    else:
        with pytest.raises(Rejected, match=f"version 1 is {stage} and cannot become {to}; it can become "):
            record(ledger, decide, NIGHTLY)
        assert _state(ledger).standings["1"].stage == stage


@pytest.mark.parametrize("stage", ["shadow", "canary"])
def test_one_version_at_a_time_is_compared_on_live_requests(ledger: Ledger, stage: str) -> None:
    _reach(ledger, "1", stage)
    _reach(ledger, "2", "approved")
    for to in ("shadow", "canary"):
        with pytest.raises(Rejected, match=r"version 1 is compared .*; version 2 has to wait"):
            record(ledger, move("2", to, "me too"), NIGHTLY)
    candidate = _state(ledger).candidate
    assert candidate is not None
    assert candidate.version == "1"


def test_what_is_compared_on_live_requests_is_not_set_aside_for_a_newer_version(ledger: Ledger) -> None:
    _reach(ledger, "1", "canary")
    _reach(ledger, "2", "staged")
    record(ledger, propose(_proposal("3", day=3), "newest"), NIGHTLY)
    while record(ledger, supersede_older(_proposal("3", day=3)), NIGHTLY):
        pass
    assert [item.version for item in _state(ledger).undecided] == ["1", "3"]


def test_each_rung_of_the_ladder_is_entered_once(ledger: Ledger) -> None:
    _reach(ledger, "1", "shadow")
    for share in (0.1, 0.5):
        assert record(ledger, move("1", "canary", "next rung", share=share), NIGHTLY)
        assert record(ledger, move("1", "canary", "a retry", share=share), NIGHTLY) is None
        assert _state(ledger).standings["1"].share == share


def test_a_canary_of_a_champion_that_became_newer_ends_aborted(ledger: Ledger) -> None:
    _reach(ledger, "1", "canary")
    _crown(ledger, "2")
    entry = record(ledger, move("1", "promoted", "it climbed"), NIGHTLY)
    assert entry is not None
    assert entry.event == "aborted"
    assert _state(ledger).candidate is None


def _crown(ledger: Ledger, *versions: str) -> None:
    for version in versions:
        record(ledger, propose(_proposal(version, day=int(version)), "passed"), NIGHTLY)
        tiny.promote(ledger, version)


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
    _approve(ledger, *map(str, range(1, 101)))

    known = ledger.entries()

    def promote(number: int) -> str:
        actor = Actor("ann", f"run-{number}")
        entry = record(ledger, move(str(number), "promoted", "good"), actor, known)
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
