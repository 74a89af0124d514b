from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.serving.split import answers

KEYS = [f"UA{number}" for number in range(10_000)]
SHARES = st.floats(0, 1)


@given(key=st.text(st.characters()), one=SHARES, other=SHARES)
def test_a_caller_stays_with_the_candidate_when_its_share_grows(key: str, one: float, other: float) -> None:
    smaller, greater = sorted((one, other))
    assert answers("2", key, smaller) <= answers("2", key, greater)


@given(key=st.text(st.characters()))
def test_nobody_is_answered_at_no_share_and_everybody_at_all(key: str) -> None:
    assert (answers("2", key, 0.0), answers("2", key, 1.0)) == (False, True)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_candidate_gets_its_share_of_the_keys(share: float) -> None:
    found = sum(answers("2", key, share) for key in KEYS) / len(KEYS)
    assert found == pytest.approx(share, abs=4 * (share * (1 - share) / len(KEYS)) ** 0.5)


def test_another_candidate_meets_other_callers() -> None:
    both = sum(answers("2", key, 0.1) and answers("3", key, 0.1) for key in KEYS)
    assert both == pytest.approx(0.01 * len(KEYS), abs=40)


def test_a_half_of_a_surrogate_pair_is_a_key_too() -> None:
    assert answers("2", "\ud800", 1.0)


def test_the_split_is_the_same_in_every_process_and_release_of_the_server() -> None:
    assert [key for key in KEYS[:40] if answers("2", key, 0.1)] == ["UA15", "UA21", "UA22", "UA36"]
