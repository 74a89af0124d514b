from __future__ import annotations

from functools import reduce
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.release.counts import Tally

VALUES = st.lists(st.floats(0, 1))


@given(values=VALUES)
def test_a_tally_sums_a_stream_up_number_by_number(values: list[float]) -> None:
    tally = reduce(Tally.with_value, values, Tally())
    before = [fmean(values[:place]) if place else 0.5 for place in range(len(values))]
    distances = [value - mean for value, mean in zip(values, before, strict=True)]
    assert (tally.count, tally.total) == (len(values), pytest.approx(sum(values)))
    assert tally.variation == pytest.approx(sum(distance**2 for distance in distances))


@given(one=VALUES, other=VALUES)
def test_tallies_of_two_servers_add_up(one: list[float], other: list[float]) -> None:
    tallies = [reduce(Tally.with_value, values, Tally()) for values in (one, other)]
    both = tallies[0] + tallies[1]
    assert both.count == len(one) + len(other)
    assert both.variation == tallies[0].variation + tallies[1].variation
