from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.monitor.governor import as_of, decide_on_schedule, decide_on_windows
from include.lifecycle.release.state import ModelState, Training, WindowVerdict
from include.lifecycle.spec.model import Governor

START = datetime(2024, 1, 1, tzinfo=UTC)
POLICY = Governor(
    bad_windows=2,
    of_last=3,
    min_growth=0.2,
    cooldown=timedelta(days=7),
    budget=2,
    budget_period=timedelta(days=30),
    max_age=timedelta(days=45),
    give_up_after=2,
)
ENOUGH = 1.0


def _day(number: int) -> datetime:
    return START + timedelta(days=number)


def _windows(marks: str, last: int, shift: timedelta = timedelta(0)) -> tuple[WindowVerdict, ...]:
    """One window a day, the last one ending on day `last`; x is bad."""
    first = last - len(marks) + 1
    return tuple(
        WindowVerdict(end=_day(first + place) + shift, bad=mark == "x", why=f"drift {place}")
        for place, mark in enumerate(marks)
    )


def _training(
    day: int, outcome: str | None = "promoted", *, drift: bool = False, shift: timedelta = timedelta(0)
) -> Training:
    return Training(
        run_key=f"key-{day}", as_of=_day(day) + shift, fingerprint="same", drift=drift, outcome=outcome
    )


def _state(marks: str, last: int, *trainings: Training) -> ModelState:
    return ModelState(windows=_windows(marks, last), trainings=trainings)


@pytest.mark.parametrize(
    ("marks", "retrain", "why"),
    [
        ("", False, "no window yet"),
        ("x", False, "retraining needs 2"),
        ("xx", True, "2 of the last 2 windows are bad"),
        ("x.x", True, "2 of the last 3"),
        ("xx.", False, "the latest window is good"),
        ("xxx.", False, "the latest window is good"),
        ("xx..x", False, "1 of the last 3"),
        ("..x", False, "1 of the last 3"),
        ("xxx", True, "drift 2"),
    ],
)
def test_retraining_needs_some_bad_windows_of_the_last_and_the_latest_bad(
    marks: str, retrain: bool, why: str
) -> None:
    decision = decide_on_windows(_state(marks, 40), POLICY, _day(40), ENOUGH)
    assert decision.retrain == retrain
    assert why in decision.why


def test_windows_from_before_the_last_training_do_not_count() -> None:
    state = _state("xxx", 40, _training(39))
    assert not decide_on_windows(state, POLICY, _day(40), ENOUGH).retrain
    assert decide_on_windows(_state("xxx", 40, _training(30)), POLICY, _day(40), ENOUGH).retrain


def test_windows_that_end_later_than_the_moment_do_not_count() -> None:
    assert not decide_on_windows(_state(".xx", 40), POLICY, _day(39), ENOUGH).retrain
    assert decide_on_windows(_state(".xx", 40), POLICY, _day(40), ENOUGH).retrain


@pytest.mark.parametrize(("days", "retrain"), [(6, False), (7, True)])
def test_cooldown_counts_in_business_time_from_the_last_training(days: int, retrain: bool) -> None:
    decision = decide_on_windows(_state("xx", 40, _training(40 - days)), POLICY, _day(40), ENOUGH)
    assert decision.retrain == retrain
    if not retrain:
        assert f"cooldown lasts until {_day(47 - days):%Y-%m-%d}" in decision.why


@pytest.mark.parametrize(("oldest", "retrain"), [(29, False), (30, True)])
def test_a_budget_allows_so_many_trainings_in_a_period(oldest: int, retrain: bool) -> None:
    state = _state("xx", 40, _training(40 - oldest), _training(32))
    decision = decide_on_windows(state, POLICY, _day(40), ENOUGH)
    assert decision.retrain == retrain
    assert retrain or "budget of 2 in 30d is spent" in decision.why


@pytest.mark.parametrize(("growth", "retrain"), [(0.19, False), (0.2, True), (0.9, True)])
def test_drift_waits_until_there_are_enough_new_rows(growth: float, retrain: bool) -> None:
    decision = decide_on_windows(_state("xx", 40), POLICY, _day(40), growth)
    assert decision.retrain == retrain
    assert retrain or "19% new rows; 20% needed" in decision.why


@pytest.mark.parametrize(
    ("trainings", "retrain"),
    [
        ((_training(-90, "promoted", drift=True), _training(-60, "rejected", drift=True)), True),
        ((_training(-90, "rejected", drift=True), _training(-60, "superseded", drift=True)), False),
        ((_training(-90, "rejected", drift=True), _training(-60, None, drift=True)), False),
        ((_training(-90, "rejected"), _training(-60, "rejected", drift=True)), True),
        ((_training(-90, "rejected", drift=True), _training(-60, "promoted", drift=True)), True),
        ((_training(-90, "failed", drift=True), _training(-60, "rejected", drift=True)), True),
    ],
)
def test_drift_gives_up_after_trainings_in_a_row_that_brought_no_champion(
    trainings: tuple[Training, ...], retrain: bool
) -> None:
    decision = decide_on_windows(_state("xx", 40, *trainings), POLICY, _day(40), ENOUGH)
    assert decision.retrain == retrain
    assert retrain or "2 retrainings in a row brought no new champion" in decision.why
    assert decision.circuit_open_after == (None if retrain else "key--60")


def test_failed_trainings_taught_nothing_and_cost_neither_cooldown_nor_budget() -> None:
    failed = [_training(day, "failed") for day in (36, 37, 38)]
    assert decide_on_windows(_state("xx", 40, *failed), POLICY, _day(40), ENOUGH).retrain


def test_a_training_later_than_the_moment_does_not_count() -> None:
    """A monitoring of last month decides as it would have then."""
    state = ModelState(windows=_windows("xx", 40), trainings=(_training(60),))
    assert decide_on_windows(state, POLICY, _day(40), ENOUGH).retrain


@pytest.mark.parametrize(
    ("trainings", "wish", "fingerprint", "retrain", "why"),
    [
        ((), None, "same", True, "first training"),
        ((_training(39),), None, "same", False, "nothing new"),
        ((_training(39),), "2 of 3 are bad", "same", True, "2 of 3 are bad"),
        ((_training(-5),), None, "same", True, "45d old"),
        ((_training(-4),), None, "same", False, "nothing new"),
        ((_training(30),), None, "other", True, "spec, features or code changed"),
        ((_training(35),), None, "other", False, "cooldown"),
        ((_training(12), _training(30)), None, "other", False, "budget of 2"),
        ((_training(39, "failed"),), None, "same", True, "first training"),
    ],
)
def test_the_schedule_trains_first_for_drift_for_age_and_for_a_changed_spec(
    trainings: tuple[Training, ...], wish: str | None, fingerprint: str, retrain: bool, why: str
) -> None:
    state = ModelState(trainings=trainings, retrain=wish)
    decision = decide_on_schedule(state, POLICY, fingerprint, _day(40))
    assert decision.retrain == retrain
    assert why in decision.why


def test_without_a_maximal_age_age_alone_never_retrains() -> None:
    policy = POLICY.model_copy(update={"max_age": None})
    state = ModelState(trainings=(_training(-900),))
    assert not decide_on_schedule(state, policy, "same", _day(40)).retrain


@given(
    years=st.integers(-40, 60),
    marks=st.text("x.", max_size=6),
    days=st.lists(
        st.tuples(st.integers(-60, 40), st.sampled_from(["promoted", "rejected", "failed", None])), max_size=4
    ),
    growth=st.floats(0, 1),
)
def test_shifting_all_dates_by_years_changes_no_decision(
    years: int, marks: str, days: list[tuple[int, str | None]], growth: float
) -> None:
    """Nothing depends on the wall clock: a replay of a year in minutes decides as the year did."""
    decisions = set()
    for shift in (timedelta(0), timedelta(days=365 * years)):
        trainings = tuple(_training(day, outcome, drift=True, shift=shift) for day, outcome in days)
        state = ModelState(windows=_windows(marks, 40, shift), trainings=trainings)
        now = _day(40) + shift
        decisions.add(
            (
                decide_on_windows(state, POLICY, now, growth).retrain,
                decide_on_schedule(state, POLICY, "same", now).retrain,
                decide_on_schedule(state, POLICY, "other", now).retrain,
            )
        )
    assert len(decisions) == 1


def test_business_time_is_the_slot_but_never_later_than_the_data() -> None:
    assert as_of(_day(5), _day(9)) == _day(5)
    assert as_of(_day(9), _day(5)) == _day(5)
