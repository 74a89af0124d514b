from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.release.counts import Arm, Counts, ServerCounts, Tally
from include.lifecycle.release.sums import Servers, sum_counts

NOTHING = Servers(model="late", champion="1", candidate="2")


def _read(process: str, requests: int, candidate: str = "2") -> ServerCounts:
    """What a process counted of so many requests."""
    tally = Tally(count=requests, total=requests * 0.1, variation=requests * 0.07)
    counts = Counts(candidate=Arm(score=tally), difference=tally, slices={"JFK": tally} if requests else {})
    return ServerCounts(process=process, model="late", champion="1", candidate=candidate, counts=counts)


READ = st.builds(_read, st.sampled_from("abc"), st.integers(0, 50), st.sampled_from(["2", "2", "3"]))


@given(st.lists(READ, max_size=12), st.data())
def test_neither_order_nor_repetition_of_what_was_read_makes_a_difference(
    read: list[ServerCounts], data: st.DataObject
) -> None:
    again = data.draw(
        st.permutations(read + data.draw(st.lists(st.sampled_from(read)) if read else st.just([])))
    )
    one_by_one = NOTHING
    for item in again:
        one_by_one = one_by_one.with_read([item])
    assert one_by_one == NOTHING.with_read(read)
    assert sum_counts(one_by_one) == sum_counts(NOTHING.with_read(read))


@given(st.lists(READ, max_size=12))
def test_the_sum_never_decreases(read: list[ServerCounts]) -> None:
    servers, counted = NOTHING, [0.0]
    for item in read:
        servers = servers.with_read([item])
        counted.append(sum_counts(servers).difference.total)
    assert (np.diff(counted) >= -1e-12).all()


def test_a_process_that_went_away_or_began_anew_keeps_what_it_counted() -> None:
    before = NOTHING.with_read([_read("a", 40), _read("b", 10)])
    after = before.with_read([_read("b", 12), _read("a, started again", 3)])
    assert sum_counts(after).difference.count == 40 + 12 + 3
    assert sum_counts(after).slices["JFK"].count == 40 + 12 + 3


def test_counts_of_other_versions_or_of_another_model_are_left_out() -> None:
    other = _read("a", 5).model_copy(update={"model": "early"})
    assert NOTHING.with_read([_read("a", 5, candidate="3"), other]) == NOTHING


def test_what_is_known_survives_being_written_and_read() -> None:
    servers = NOTHING.with_read([_read("a", 40), _read("b", 10)])
    assert Servers.model_validate_json(servers.model_dump_json()) == servers
