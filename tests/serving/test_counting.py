from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.release.counts import Arm, Counts, Tally
from include.serving.counting import Counting, with_values

VALUES = st.lists(st.floats(0, 1))


@given(before=VALUES, values=VALUES)
def test_many_rows_at_once_are_counted_to_the_last_bit_as_one_by_one(
    before: list[float], values: list[float]
) -> None:
    tally = reduce(Tally.with_value, before, Tally())
    assert with_values(tally, values) == reduce(Tally.with_value, values, tally)


def test_a_request_counts_once_and_its_rows_one_by_one() -> None:
    counting = Counting()
    counting.count("champion", failed=False, slow=True, scores=[0.25, 0.75])
    counting.count("candidate", failed=True, slow=False)
    counts = counting.counts
    assert (counts.champion.failed.count, counts.champion.failed.total) == (1, 0)
    assert (counts.champion.slow.count, counts.champion.slow.total) == (1, 1)
    assert counts.champion.score == Tally(count=2, total=1.0, variation=0.25**2 + 0.5**2)
    assert (counts.candidate.failed.total, counts.candidate.score.count) == (1, 0)
    assert counts.copies == Arm()


def test_rows_that_both_scored_are_compared_by_slice() -> None:
    counting = Counting()
    counting.compare([0.5, 0.5, 0.5], [0.75, 0.0, 0.5], ["UA", None, "UA"])
    counts = counting.counts
    assert (counts.difference.count, counts.difference.total) == (3, 0.75)
    assert {name: tally.total for name, tally in counts.slices.items()} == {
        "UA": (0.25 + 1) / 2 + 0.5,
        "missing": 0.25,
    }


def test_without_a_slice_column_there_are_no_slices() -> None:
    counting = Counting()
    counting.compare([0.5], [0.5], None)
    assert (counting.counts.difference.count, counting.counts.slices) == (1, {})


def test_the_first_fifty_values_have_a_slice_and_all_others_share_one() -> None:
    counting = Counting()
    counting.compare([0.5] * 60, [0.5] * 60, range(60))
    counting.compare([0.5] * 2, [0.5] * 2, [0, 60])
    slices = counting.counts.slices
    assert list(slices) == [*map(str, range(50)), "other"]
    assert (slices["0"].count, slices["other"].count) == (2, 11)


def test_a_long_value_does_not_make_a_long_name() -> None:
    counting = Counting()
    counting.compare([0.5], [0.5], ["x" * 1_000_000])
    assert list(counting.counts.slices) == ["x" * 100]


def test_counts_of_many_threads_are_all_there() -> None:
    counting = Counting()

    def count(number: int) -> None:
        counting.count("copies", failed=False, slow=False, scores=[0.5])
        counting.compare([0.5], [0.75], ["UA"])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(2_000)))
    counts = counting.counts
    found = (counts.copies.failed.count, counts.difference.count, counts.slices["UA"].count)
    assert found == (2_000, 2_000, 2_000)


def test_counts_begin_with_nothing() -> None:
    assert Counting().counts == Counts()
