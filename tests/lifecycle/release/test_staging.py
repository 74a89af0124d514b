from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from include.lifecycle.release.staging import SAME, told, verdict
from include.lifecycle.release.state import Measured
from include.lifecycle.spec.release import ReleasePolicy

MIB = 1 << 20
GOOD = Measured(
    seconds=3.1,
    requests=200,
    apart=SAME / 2,
    p99_ms=4.2,
    memory=250 * MIB,
    day=date(2024, 1, 21),
    compared_with="7",
    compared=180,
    change=0.031,
    largest_change=0.21,
)
POLICY = ReleasePolicy.model_validate({"staging": {"p99_ms": 5, "memory": "256Mi"}})


def test_a_version_within_its_budget_is_staged_and_all_that_was_measured_is_told() -> None:
    passed = verdict(GOOD, POLICY)
    assert passed.passed
    for said in (
        "200 requests of 2024-01-21",
        "version 7",
        "180 of them",
        "0.031",
        "0.210",
        "4.2 ms",
        "250 MiB",
    ):
        assert said in passed.why


@pytest.mark.parametrize(
    ("measured", "why"),
    [
        ({"p99_ms": 5.1}, "p99 5.1 ms, and the budget is 5 ms"),
        ({"memory": 257 * MIB}, "257 MiB of memory, and the budget is 256 MiB"),
        ({"apart": 2e-6}, "differ by up to 2e-06 from those to the same rows in one batch"),
        ({"refused": 3}, "3 of 200 requests got no answer (1.5%), and tolerance.failed is 1.0%"),
    ],
)
def test_what_is_out_of_bounds_rejects_a_version_with_both_numbers(
    measured: dict[str, Any], why: str
) -> None:
    failed = verdict(GOOD.model_copy(update=measured), POLICY)
    assert not failed.passed
    assert why in failed.why


def test_without_a_budget_nothing_is_too_slow_or_too_fat() -> None:
    assert verdict(GOOD.model_copy(update={"p99_ms": 9e9, "memory": 1 << 50}), ReleasePolicy()).passed


def test_an_empty_log_and_a_champion_that_answered_none_of_it_are_said() -> None:
    alone = GOOD.model_copy(update={"day": None, "compared_with": None, "change": None})
    assert "no requests logged yet that can be asked again" in told(alone)
    assert "none of them answered by the champion" in told(alone.model_copy(update={"day": GOOD.day}))
