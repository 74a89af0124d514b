from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.lifecycle.release.fold import fold
from include.lifecycle.release.state import ModelState
from include.lifecycle.store.ledger import Entry

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
EVENTS = ["training", "failed", "proposed", "promoted", "rejected", "superseded", "window", "retrain", "used"]
EVENTS += ["staged", "approved", "shadow", "canary", "aborted", "rolled_back", "circuit_opened"]
KEYS = ["run_key", "fingerprint", "drift", "expires", "version", "evaluation", "bad", "as_of", "metrics"]
KEYS += ["attempt", "usage", "cost", "currency", "to", "share", "training"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=2) | st.dictionaries(st.text(max_size=3), children, max_size=2)
    ),
    max_leaves=4,
)
plausible = st.sampled_from(
    [
        "1",
        "2",
        "a",
        "b",
        "2024-03-02T00:00:00Z",
        "2024-03-02",
        "0001-01-01T00:00:00+10:00",
        True,
        False,
        7,
        None,
        {"cpu_seconds": 1.5},
        {"cpu_seconds": 1e308},
        10**400,
    ]
)
entries_of_any_kind = st.lists(
    st.tuples(
        st.sampled_from(EVENTS) | st.text(max_size=8),
        st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), plausible | json_values, max_size=8),
        st.integers(0, 5),
    ),
    max_size=12,
)


def _chain(*items: tuple[str, dict[str, Any], int]) -> list[Entry]:
    entries: list[Entry] = []
    for event, data, day in items:
        entries.append(
            Entry(
                seq=len(entries),
                prev="",
                hash=f"hash-{len(entries)}",
                at=AS_OF,
                as_of=AS_OF + timedelta(days=day),
                actor="me",
                run_id="r",
                event=event,
                why=event,
                data=data,
            )
        )
    return entries


def _training(run_key: str, drift: bool = False) -> dict[str, Any]:
    return {"run_key": run_key, "fingerprint": "f", "drift": drift, "expires": "2024-03-01T02:00:00Z"}


def _proposed(version: str, run_key: str) -> dict[str, Any]:
    return {"version": version, "run_key": run_key, "evaluation": "e"}


def _released(version: str, run_key: str, day: int = 1) -> list[tuple[str, dict[str, Any], int]]:
    """All that leads a version to all users."""
    moves = [(event, {"version": version}, day) for event in ("staged", "approved", "promoted")]
    return [
        ("training", _training(run_key), day),
        ("proposed", _proposed(version, run_key), day),
        *moves,
    ]


RELEASED = tuple(_released("1", "a", 0))


@given(entries_of_any_kind)
@settings(max_examples=200)
def test_the_fold_takes_any_event_with_any_data(items: list[tuple[str, dict[str, Any], int]]) -> None:
    entries = _chain(*items)
    state = fold(entries)
    assert state.seq == len(entries) - 1
    assert state.hash == (entries[-1].hash if entries else "")


@given(entries_of_any_kind)
@settings(max_examples=200)
def test_nobody_becomes_champion_but_by_promotion_of_a_proposal_or_as_one_who_was(
    items: list[tuple[str, dict[str, Any], int]],
) -> None:
    champion, waiting, were = None, set(), set()
    for end in range(1, len(items) + 1):
        state = fold(_chain(*items[:end]))
        event = items[end - 1][0]
        if state.champion != champion:
            assert state.champion is not None
            assert event in ("promoted", "rolled_back")
            assert state.champion.version in (waiting if event == "promoted" else were)
            were.add(state.champion.version)
        champion, waiting = state.champion, {item.version for item in state.undecided}


@given(entries_of_any_kind, st.text(max_size=8).filter(lambda event: event not in EVENTS))
def test_an_unknown_event_changes_nothing_but_the_head(
    items: list[tuple[str, dict[str, Any], int]], event: str
) -> None:
    before, after = fold(_chain(*items)), fold(_chain(*items, (event, {"version": "1"}, 0)))
    head = {"seq", "hash"}
    assert before.model_dump(exclude=head) == after.model_dump(exclude=head)


def test_an_empty_ledger_says_nothing() -> None:
    assert fold([]) == ModelState()


def test_a_promotion_makes_the_champion_and_keeps_the_one_before() -> None:
    state = fold(_chain(*RELEASED, *_released("2", "b")))
    assert state.champion is not None
    assert state.previous is not None
    assert (state.champion.version, state.previous.version) == ("2", "1")
    assert state.undecided == ()


def test_promoting_what_does_not_wait_changes_nothing() -> None:
    again = fold(_chain(*RELEASED, ("promoted", {"version": "1"}, 0), ("promoted", {"version": "9"}, 0)))
    assert again.champion == fold(_chain(*RELEASED)).champion
    assert again.previous is None


def _back(version: str, to: str) -> tuple[str, dict[str, Any], int]:
    return ("rolled_back", {"version": version, "to": to}, 2)


def _champions(*rollbacks: tuple[str, str]) -> ModelState:
    """After versions 1, 2 and 3 became champion, and some rollbacks."""
    later = (*_released("2", "b"), *_released("3", "c"))
    return fold(_chain(*RELEASED, *later, *(_back(*rollback) for rollback in rollbacks)))


@pytest.mark.parametrize(
    ("rollbacks", "champion", "previous"),
    [
        ([], "3", "2"),
        ([("3", "2")], "2", "1"),
        ([("3", "2"), ("2", "1")], "1", None),
        ([("3", "1")], "1", "2"),
        ([("3", "2"), ("2", "3")], "3", "1"),
        ([("3", "9")], "3", "2"),
        ([("2", "1")], "3", "2"),
        ([("3", "3")], "3", "2"),
    ],
)
def test_a_rollback_makes_an_earlier_champion_champion_again(
    rollbacks: list[tuple[str, str]], champion: str, previous: str | None
) -> None:
    state = _champions(*rollbacks)
    assert state.champion is not None
    assert state.champion.version == champion
    assert (state.previous and state.previous.version) == previous


def test_a_training_whose_version_was_rolled_back_did_not_help() -> None:
    outcomes = {item.run_key: item.outcome for item in _champions(("3", "2")).trainings}
    assert outcomes == {"a": "promoted", "b": "promoted", "c": "rolled_back"}


@pytest.mark.parametrize("event", ["rejected", "superseded"])
def test_a_rejected_or_superseded_proposal_waits_no_more(event: str) -> None:
    items = (
        *RELEASED,
        ("training", _training("b"), 1),
        ("proposed", _proposed("2", "b"), 1),
        (event, {"version": "2"}, 1),
    )
    state = fold(_chain(*items))
    assert state.undecided == ()
    assert state.champion is not None
    assert state.champion.version == "1"
    assert {item.run_key: item.outcome for item in state.trainings} == {"a": "promoted", "b": event}


@pytest.mark.parametrize(("event", "outcome"), [("failed", "failed"), ("rejected", "rejected")])
def test_a_training_that_ended_gives_the_lease_back(event: str, outcome: str) -> None:
    state = fold(_chain(("training", _training("a"), 0), (event, {"run_key": "a"}, 0)))
    assert state.lease is None
    assert state.trainings[0].outcome == outcome


def test_the_end_of_another_training_leaves_the_lease() -> None:
    state = fold(_chain(("training", _training("a"), 0), ("failed", {"run_key": "b"}, 0)))
    assert state.lease is not None


def test_a_proposal_gives_the_lease_back_and_stays_undecided() -> None:
    state = fold(_chain(("training", _training("a"), 0), ("proposed", _proposed("1", "a"), 0)))
    assert state.lease is None
    assert state.trainings[0].outcome is None
    assert [item.version for item in state.undecided] == ["1"]


def test_a_lease_holds_until_it_expires() -> None:
    state = fold(_chain(("training", _training("a"), 0)))
    expires = datetime(2024, 3, 1, 2, tzinfo=UTC)
    assert state.in_flight(expires - timedelta(seconds=1)) is not None
    assert state.in_flight(expires) is None


def test_windows_stand_in_order_of_business_time_one_for_each_end() -> None:
    items = [("window", {"bad": bad}, day) for day, bad in ((3, True), (1, False), (2, True), (1, True))]
    state = fold(_chain(*items))
    assert [(window.end - AS_OF).days for window in state.windows] == [1, 2, 3]
    assert [window.bad for window in state.windows] == [True, True, True]


def test_a_wish_to_retrain_lasts_until_a_training_answers_it() -> None:
    assert fold(_chain(("retrain", {}, 0))).retrain == "retrain"
    for drift, wish in ((True, None), (False, "retrain")):
        state = fold(_chain(("retrain", {}, 0), ("training", _training("a", drift), 0)))
        assert state.retrain == wish
