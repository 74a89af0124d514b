from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.lifecycle.monitor.windows import Window, judge_window
from include.lifecycle.spec.model import Drift, Monitoring, Performance

END = datetime(2024, 2, 1, tzinfo=UTC)
POLICY = Monitoring(
    min_rows=100,
    drift=Drift(floor=0.1, times=1.5, features=1),
    performance=Performance(min_skill=0.0, max_bias=0.3),
)
FINE: dict[str, Any] = {
    "rows": 500,
    "coverage": 1.0,
    "drift": {"rain": 0.05, "city": 0.01},
    "usual_drift": {"rain": 0.2, "city": 0.0},
    "labelled": 500,
    "skill": 0.2,
    "bias": 0.1,
}


def _window(**changes: Any) -> Window:
    return Window.model_validate(
        {"start": END - timedelta(days=7), "end": END, "version": "1", **FINE, **changes}
    )


@pytest.mark.parametrize(
    ("changes", "bad", "why"),
    [
        ({}, False, "as trained"),
        ({"drift": {"city": 0.1}}, False, "as trained"),
        ({"drift": {"city": 0.11}}, True, "drift in city (PSI 0.11, in training at most 0.10)"),
        ({"drift": {"rain": 0.3}}, False, "as trained"),
        ({"drift": {"rain": 0.31}}, True, "drift in rain (PSI 0.31, in training at most 0.30)"),
        ({"drift": {"rain": 0.31}, "coverage": 0.79}, False, "as trained"),
        ({"drift": {"rain": 0.31}, "coverage": 0.8}, True, "drift in rain"),
        ({"drift": {}}, False, "as trained"),
        ({"skill": -0.01}, True, "Brier skill -0.010, below 0"),
        ({"skill": 0.0}, False, "as trained"),
        ({"bias": 0.3}, False, "as trained"),
        ({"bias": 0.31}, True, "31% too high"),
        ({"bias": -0.31}, True, "31% too low"),
        ({"skill": None, "bias": 0.9}, False, "as trained"),
        ({"skill": -1.0, "labelled": 99}, False, "as trained"),
        (
            {"rows": 99, "labelled": 99, "skill": -1.0, "drift": {"city": 9.0}},
            False,
            "fewer than monitoring.min_rows",
        ),
        ({"rows": 0, "drift": {}, "coverage": 0.0, "skill": -1.0}, True, "Brier skill"),
        ({"drift": {"city": 0.5}, "skill": -1.0}, True, "; Brier skill"),
    ],
)
def test_a_window_is_bad_for_drift_for_want_of_skill_or_for_bias(
    changes: dict[str, Any], bad: bool, why: str
) -> None:
    verdict = judge_window(_window(**changes), POLICY)
    assert (verdict.bad, verdict.end) == (bad, END)
    assert why in verdict.why


def test_a_policy_may_ask_for_several_drifted_features() -> None:
    policy = POLICY.model_copy(update={"drift": Drift(features=2)})
    one, two = _window(drift={"city": 0.5}), _window(drift={"city": 0.5, "rain": 0.9})
    assert not judge_window(one, policy).bad
    assert judge_window(two, policy).bad


def test_the_worst_features_are_named_first() -> None:
    drift = {f"f{place}": 0.2 + place / 10 for place in range(5)}
    why = judge_window(_window(drift=drift), POLICY).why
    assert why.startswith("drift in f4 ")
    assert "f1" not in why
