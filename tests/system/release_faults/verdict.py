"""What a campaign's looks and answers prove, by the ledger; pure functions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from include.lifecycle.release.fold import fold
from include.lifecycle.release.ladder import Rung
from include.lifecycle.release.state import IN_TRAFFIC, ModelState
from include.lifecycle.store.ledger import Entry
from tests.system.release_faults.callers import Answered
from tests.system.release_faults.looks import Head, Life, Look

_TAKEN_AWAY = ("aborted", "rolled_back")
_NEVER = ("rejected", "superseded")


@dataclass
class Outcome:
    """What went wrong; each list says where."""

    unanswered: list[str] = field(default_factory=list)
    two_champions: list[str] = field(default_factory=list)
    answers_after_an_acknowledged_abort: list[str] = field(default_factory=list)
    answers_of_rejected_versions: list[str] = field(default_factory=list)
    answers_that_no_decision_allows: list[str] = field(default_factory=list)
    rungs_passed_over: list[str] = field(default_factory=list)
    rungs_cut_short: list[str] = field(default_factory=list)
    ledger: list[str] = field(default_factory=list)
    different_when_quiet: list[str] = field(default_factory=list)


def states_of(entries: Sequence[Entry]) -> list[ModelState]:
    """The state after each entry."""
    return [fold(entries[: number + 1]) for number in range(len(entries))]


def acknowledged(looks: Sequence[Look], lives: Sequence[Life]) -> tuple[list[float], list[int]]:
    """From when on which ledger entry, or one after it, was followed by every server that lived.

    A server lives from before its process begins until after it was killed. What was acknowledged stays
    so: one that starts with an older entry, or goes back to one, is what must not happen.
    """
    events: list[Look | Life] = [
        *lives,
        *(look for look in looks if look.who in {life.who for life in lives}),
    ]
    times, floors, last = [], [], dict[str, int]()
    for event in sorted(events, key=_moment):
        if isinstance(event, Look):
            if event.who in last:
                last[event.who] = event.seq
        elif event.begins:
            last[event.who] = -1
        else:
            last.pop(event.who, None)
        times.append(_moment(event))
        floors.append(min(last.values(), default=-1))
    return times, list(accumulate(floors, max))


def _moment(event: Look | Life) -> float:
    return event.at if isinstance(event, Life) else event.ended


def acknowledged_at(seq: int, times: Sequence[float], floors: Sequence[int]) -> float | None:
    """When every server followed that entry or one after it; None: never."""
    place = bisect_left(floors, seq)
    return times[place] if place < len(times) else None


def decided_before(seq: int, heads: Sequence[Head]) -> float:
    """The last moment at which the ledger was seen without that entry."""
    return max((head.began for head in heads if head.seq < seq), default=heads[0].began)


def seconds_to_acknowledge(
    entries: Sequence[Entry], heads: Sequence[Head], times: Sequence[float], floors: Sequence[int]
) -> dict[str, float]:
    """Of each version that was taken from users: seconds at most until every server knew."""
    found = {}
    for entry in entries:
        if entry.event in _TAKEN_AWAY and (known := acknowledged_at(entry.seq, times, floors)) is not None:
            name = f"{entry.event} {entry.data['version']} at entry {entry.seq}"
            found[name] = known - decided_before(entry.seq, heads)
    return found


def champions_differ(states: Sequence[ModelState], looks: Sequence[Look]) -> list[str]:
    """Looks at which a server or the document named another champion than the ledger does at that entry."""
    found = set()
    for look in looks:
        champion = states[look.seq].champion
        if look.champion != (champion.version if champion else None):
            found.add(f"{look.who} says {look.champion} at entry {look.seq}")
    return sorted(found)


def after_abort(
    entries: Sequence[Entry], answered: Sequence[Answered], times: Sequence[float], floors: Sequence[int]
) -> list[str]:
    """Answers of aborted versions to requests that were sent after every server knew of the abort."""
    found = []
    for entry in entries:
        known = acknowledged_at(entry.seq, times, floors) if entry.event == "aborted" else None
        if known is not None:
            version = entry.data["version"]
            late = [item for item in answered if item.version == version and item.sent > known]
            found += [f"{item.host} answered by {version} {item.sent - known:.2f} s after" for item in late]
    return found


def of_rejected(entries: Sequence[Entry], answered: Sequence[Answered]) -> list[str]:
    """Answers of versions that were rejected or superseded, and so never were to answer."""
    never = {entry.data["version"] for entry in entries if entry.event in _NEVER}
    return [f"{item.host} answered by {item.version}" for item in answered if item.version in never]


def not_allowed(
    states: Sequence[ModelState],
    answered: Sequence[Answered],
    heads: Sequence[Head],
    times: Sequence[float],
    floors: Sequence[int],
) -> list[str]:
    """Answers of a version that none of the decisions allows which may have been in force: from the one
    that all servers followed when the request was sent, to the newest one when the reply came."""
    allowed = [_who_answers(state) for state in states]
    begans, found = [head.began for head in heads], []
    for item in answered:
        place = bisect_left(times, item.sent) - 1
        first = max(0, floors[place]) if place >= 0 else 0
        later = bisect_left(begans, item.replied)
        last = heads[later].seq if later < len(heads) else len(states) - 1
        if not any(item.version in allowed[seq] for seq in range(first, last + 1)):
            found.append(f"{item.host} answered by {item.version} between entries {first} and {last}")
    return found


def past_a_rung(entries: Sequence[Entry], rungs: Sequence[Rung]) -> list[str]:
    """Versions that became champion without one of the rungs, though there was a champion before."""
    wanted, climbed, found = [(rung.stage, rung.share) for rung in rungs], dict[str, list[object]](), []
    for entry in entries:
        if entry.event in IN_TRAFFIC:
            rung = entry.event, entry.data.get("share", 0)
            climbed.setdefault(entry.data["version"], []).append(rung)
        if entry.event == "promoted" and fold(entries[: entry.seq]).champion is not None:
            version = entry.data["version"]
            if climbed.get(version) != wanted:
                found.append(f"{version} was promoted after {climbed.get(version)}")
    return found


def cut_short(entries: Sequence[Entry], rungs: Sequence[Rung]) -> list[str]:
    """Rungs that a version left upwards before their time, by the workers' clock, which never goes back."""
    durations = {(rung.stage, rung.share): rung.duration for rung in rungs}
    came, found = dict[str, Entry](), []
    for entry in entries:
        if entry.event not in (*IN_TRAFFIC, "promoted"):
            continue
        version = entry.data["version"]
        if (before := came.get(version)) is not None:
            wanted = durations[before.event, before.data.get("share", 0)]  # type: ignore[index]
            if entry.at - before.at < wanted:
                found.append(f"{version} left {before.event} after {entry.at - before.at}, {entry.event}")
        came[version] = entry
    return found


def _who_answers(state: ModelState) -> frozenset[str]:
    champion = {state.champion.version} if state.champion else set()
    shared = state.candidate is not None and state.standings[state.candidate.version].share > 0
    return frozenset(champion | ({state.candidate.version} if state.candidate and shared else set()))
