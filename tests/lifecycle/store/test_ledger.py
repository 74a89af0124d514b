import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.lifecycle.errors import Conflict, Tampered
from include.lifecycle.release.decisions import Actor, Draft, record
from include.lifecycle.release.state import ModelState
from include.lifecycle.spec.value import canonical_json
from include.lifecycle.store.ledger import GENESIS, Entry, Ledger, verify, verify_anchor
from include.lifecycle.store.objects import Store

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)


def _append(ledger: Ledger, after: list[Entry], event: str = "window", **data: Any) -> Entry:
    return ledger.append(event, after=after, as_of=AS_OF, why="a test", actor="me", run_id="r", **data)


def _filled(store: Store, count: int) -> tuple[Ledger, list[Entry]]:
    ledger = Ledger(store, f"m{uuid.uuid4().hex[:8]}")
    entries: list[Entry] = []
    for number in range(count):
        entries.append(_append(ledger, entries, number=number))
    return ledger, entries


def _path(ledger: Ledger, seq: int) -> str:
    return f"ledger/{ledger.model}/{seq:012d}.json"


def test_entries_read_back_in_order_and_chained(store: Store) -> None:
    ledger, entries = _filled(store, 4)
    assert ledger.entries() == entries
    assert [entry.seq for entry in entries] == [0, 1, 2, 3]
    assert [entry.prev for entry in entries] == [GENESIS, *(entry.hash for entry in entries[:-1])]


def test_an_empty_ledger_has_no_entries(store: Store) -> None:
    assert Ledger(store, "none").entries() == []


class _Torn:
    """A store whose first listing lacks an entry that was written before the last one."""

    def __init__(self, store: Store) -> None:
        self._store, self._listed = store, 0

    def list(self, folder: str) -> list[str]:
        self._listed += 1
        paths = self._store.list(folder)
        return [*paths[:-2], paths[-1]] if self._listed == 1 else paths

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_listing_that_was_torn_by_writers_is_no_broken_chain(store: Store) -> None:
    ledger, entries = _filled(store, 4)
    torn: Any = _Torn(store)
    assert Ledger(torn, ledger.model).entries(known=entries[:1]) == entries


def test_models_have_ledgers_of_their_own(store: Store) -> None:
    _append(Ledger(store, "late"), [])
    assert Ledger(store, "later").entries() == []


@given(schedule=st.lists(st.integers(0, 1), max_size=12))
@settings(max_examples=25)
def test_any_interleaving_of_two_appenders_gives_one_chain(store: Store, schedule: list[int]) -> None:
    """Each appender alternates between reading and appending; the schedule says whose turn it is."""
    ledger, _ = _filled(store, 0)
    seen: list[list[Entry] | None] = [None, None]
    appended: list[Entry] = []
    for turn in schedule:
        read = seen[turn]
        if read is None:
            seen[turn] = ledger.entries()
            continue
        seen[turn] = None
        if len(read) < len(appended):
            with pytest.raises(Conflict):
                _append(ledger, read, by=turn)
        else:
            appended.append(_append(ledger, read, by=turn))
    assert verify(ledger.entries()) == appended


def test_of_two_who_append_behind_the_same_entry_one_gets_a_conflict(store: Store) -> None:
    ledger, entries = _filled(store, 1)
    first = _append(ledger, entries, by="first")
    with pytest.raises(Conflict, match="entry 1 was written by another run"):
        _append(ledger, entries, by="second")
    assert ledger.entries() == [*entries, first]


def test_threads_that_decide_again_leave_one_chain_with_every_entry(store: Store) -> None:
    ledger, _ = _filled(store, 0)
    gate = Barrier(4)

    def work(number: int) -> None:
        gate.wait()
        for turn in range(4):
            draft = Draft(event="window", as_of=AS_OF, why="race", data={"by": [number, turn]})
            assert record(ledger, lambda state, draft=draft: draft, Actor(str(number), "r"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    found = [tuple(entry.data["by"]) for entry in ledger.entries()]
    assert sorted(found) == [(number, turn) for number in range(4) for turn in range(4)]
    for number in range(4):
        assert [turn for by, turn in found if by == number] == [0, 1, 2, 3]


def test_record_decides_again_on_what_the_winner_wrote(store: Store) -> None:
    ledger, _ = _filled(store, 0)
    asked: list[int] = []

    def decide(state: ModelState) -> Draft | None:
        asked.append(state.seq)
        if len(asked) == 1:
            _append(ledger, [], by="somebody quicker")
        return Draft(event="window", as_of=AS_OF, why="mine") if state.seq < 5 else None

    entry = record(ledger, decide, Actor("me", "r"))
    assert asked == [-1, 0]
    assert entry is not None
    assert entry.seq == 1


def test_record_appends_nothing_when_there_is_nothing_to_say(store: Store) -> None:
    ledger, entries = _filled(store, 2)
    assert record(ledger, lambda state: None, Actor("me", "r")) is None
    assert ledger.entries() == entries


@given(
    seq=st.integers(0, 3),
    change=st.sampled_from(
        [
            {"why": "another"},
            {"event": "promoted"},
            {"actor": "you"},
            {"run_id": "q"},
            {"at": AS_OF},
            {"as_of": AS_OF + timedelta(days=1)},
            {"data": {"number": 9}},
            {"seq": 7},
            {"prev": "f" * 64},
            {"hash": "f" * 64},
        ]
    ),
)
@settings(max_examples=30)
def test_a_changed_entry_is_found_even_when_its_own_hash_was_made_anew(
    store: Store, seq: int, change: dict[str, Any]
) -> None:
    ledger, entries = _filled(store, 5)
    forged = entries[seq].model_copy(update=change)
    if "hash" not in change:
        forged = forged.model_copy(update={"hash": forged.digest()})
    store.replace(_path(ledger, seq), canonical_json(forged.model_dump(mode="json")))
    with pytest.raises(Tampered, match="changed, removed or reordered"):
        ledger.entries()


@given(data=st.data())
@settings(max_examples=60)
def test_any_changed_byte_of_an_entry_is_found(store: Store, data: st.DataObject) -> None:
    ledger, _ = _filled(store, 2)
    path = _path(ledger, 1)
    content = bytearray(store.get(path) or b"")
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    store.replace(path, bytes(content))
    with pytest.raises(Tampered):
        ledger.entries()


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_removed_entry_is_found(store: Store, gone: int) -> None:
    _, entries = _filled(store, 4)
    with pytest.raises(Tampered, match=f"entry {gone} "):
        verify(entries[:gone] + entries[gone + 1 :], "m")


@given(order=st.permutations(range(4)))
def test_reordered_entries_are_found(order: list[int]) -> None:
    entries: list[Entry] = []
    for number in range(4):
        entries.append(
            Entry.chained(
                entries[-1] if entries else None,
                at=AS_OF,
                as_of=AS_OF,
                actor="me",
                run_id="r",
                event="window",
                why="",
                data={"number": number},
            )
        )
    turned = [entries[index] for index in order]
    if turned == entries:
        assert verify(turned) == entries
        return
    with pytest.raises(Tampered):
        verify(turned)


def test_what_is_no_entry_is_found(store: Store) -> None:
    ledger, _ = _filled(store, 2)
    store.replace(_path(ledger, 1), b"not json")
    with pytest.raises(Tampered, match="is not an entry; restore it"):
        ledger.entries()


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_a_cut_tail_is_found_by_the_anchor(store: Store, left: int) -> None:
    _, entries = _filled(store, 4)
    verify_anchor(entries, entries[-1].seq, entries[-1].hash)
    assert verify(entries[:left]) == entries[:left]
    with pytest.raises(Tampered, match="cut off or replaced"):
        verify_anchor(entries[:left], entries[-1].seq, entries[-1].hash)


def test_a_tail_written_anew_is_found_by_the_anchor(store: Store) -> None:
    ledger, entries = _filled(store, 3)
    other = Ledger(store, f"{ledger.model}x")
    forged = [_append(other, [], number=0)]
    forged += [_append(other, forged, number=1)]
    forged += [_append(other, forged, number="another")]
    with pytest.raises(Tampered, match="entry 2"):
        verify_anchor(verify(forged), 2, entries[2].hash)


def test_an_anchor_may_lag_behind(store: Store) -> None:
    _, entries = _filled(store, 3)
    verify_anchor(entries, 1, entries[1].hash)
