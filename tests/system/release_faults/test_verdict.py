"""What the campaign counts as wrong is found where it is there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from include.lifecycle.release.ladder import Rung
from include.lifecycle.store.ledger import Entry
from tests.system.release_faults import verdict
from tests.system.release_faults.callers import Answered
from tests.system.release_faults.looks import Head, Life, Look

A, B = "127.0.0.1", "127.0.0.2"
RUNGS = [
    Rung(stage="canary", share=0.3, duration=timedelta(seconds=1), enough=1),
    Rung(stage="canary", share=0.6, duration=timedelta(seconds=1), enough=1),
]
FIRST, BAD = "1", "2"
"""Version 1 is champion from entry 3 on; version 2 is in canary from entry 7 on, and aborted by entry 8."""


def ledger(*more: tuple[str, dict[str, Any]]) -> list[Entry]:
    """The entries; one a second, and then more of them."""
    entries: list[Entry] = []
    about = {"evaluation": "e"}
    events: list[tuple[str, dict[str, Any]]] = [
        ("proposed", {"version": FIRST, "run_key": "one", **about}),
        *((event, {"version": FIRST}) for event in ("staged", "approved", "promoted")),
        ("proposed", {"version": BAD, "run_key": "two", **about}),
        *((event, {"version": BAD}) for event in ("staged", "approved")),
        ("canary", {"version": BAD, "share": 0.3}),
        *more,
    ]
    for number, (event, data) in enumerate(events):
        at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        told = {"as_of": at, "actor": "a", "run_id": "r", "why": "w", "event": event, "data": data}
        entries.append(Entry.chained(entries[-1] if entries else None, at=at, **told))
    return entries


ABORTED = ledger(("aborted", {"version": BAD}))
CANARY, ABORT = 7, 8
HEADS = [Head(time, time, seq) for time, seq in ((0.0, CANARY), (1.0, ABORT), (9.0, ABORT))]
LIVES = [Life(0, A, True), Life(0, B, True)]


def looks(*told: tuple[float, str, int]) -> list[Look]:
    """What servers that follow the ledger said, and when."""
    return [Look(at, at, who, seq, FIRST) for at, who, seq in told]


ALL = looks((0.1, A, CANARY), (0.2, B, CANARY), (1.5, A, ABORT), (2.0, B, ABORT))


def answer(sent: float, version: str) -> list[Answered]:
    return [Answered(sent, sent + 0.1, B, version)]


def not_allowed(answered: list[Answered]) -> list[str]:
    states = verdict.states_of(ABORTED)
    return verdict.not_allowed(states, answered, HEADS, *verdict.acknowledged(ALL, LIVES))


def test_an_abort_is_acknowledged_when_the_last_server_that_lives_follows_it() -> None:
    times, floors = verdict.acknowledged(ALL, LIVES)
    assert verdict.acknowledged_at(ABORT, times, floors) == 2.0
    assert verdict.seconds_to_acknowledge(ABORTED, HEADS, times, floors) == {"aborted 2 at entry 8": 2.0}


def test_a_dead_server_is_not_waited_for_and_one_that_starts_is() -> None:
    told = looks((0.1, A, CANARY), (0.2, B, CANARY), (1.5, A, ABORT), (3.0, B, ABORT))
    killed = [*LIVES, Life(1.2, B, False)]
    assert verdict.acknowledged_at(ABORT, *verdict.acknowledged(told[:3], killed)) == 1.5
    started = [*killed, Life(1.4, B, True)]
    assert verdict.acknowledged_at(ABORT, *verdict.acknowledged(told, started)) == 3.0


def test_an_aborted_version_may_answer_until_then_and_not_after() -> None:
    times, floors = verdict.acknowledged(ALL, LIVES)
    assert verdict.after_abort(ABORTED, answer(1.9, BAD), times, floors) == []
    assert len(verdict.after_abort(ABORTED, answer(2.1, BAD), times, floors)) == 1
    assert not_allowed(answer(1.9, BAD)) == []
    assert len(not_allowed(answer(2.1, BAD))) == 1


def test_nobody_answers_who_was_never_given_requests() -> None:
    assert len(not_allowed(answer(0.5, "3"))) == 1
    assert not_allowed(answer(0.5, FIRST)) == []
    rejected = ledger(("aborted", {"version": BAD}), ("rejected", {"version": "3"}))
    assert len(verdict.of_rejected(rejected, answer(0.5, "3"))) == 1


def test_a_server_with_a_champion_of_its_own_is_found() -> None:
    states = verdict.states_of(ABORTED)
    assert verdict.champions_differ(states, ALL) == []
    assert len(verdict.champions_differ(states, [Look(1, 1, A, CANARY, BAD)])) == 1


def test_a_rung_that_is_left_out_or_left_too_soon_is_found() -> None:
    second = ("canary", {"version": BAD, "share": 0.6})
    climbed = ledger(second, ("promoted", {"version": BAD}))
    assert verdict.past_a_rung(climbed, RUNGS) == []
    assert len(verdict.past_a_rung(ledger(("promoted", {"version": BAD})), RUNGS)) == 1
    assert verdict.cut_short(climbed, RUNGS) == []
    longer = [rung.model_copy(update={"duration": timedelta(seconds=2)}) for rung in RUNGS]
    assert len(verdict.cut_short(climbed, longer)) == 2
