"""Decides whether to retrain: bad windows, age, or a changed spec, within cooldown and budget.

All times are business time, so that a replay of a year in minutes decides as the year did.
"""

from __future__ import annotations

from datetime import datetime

from include.lifecycle.release.state import ModelState, Training
from include.lifecycle.spec.model import Governor
from include.lifecycle.spec.quantities import format_duration
from include.lifecycle.spec.value import Value


class Decision(Value):
    """Whether to retrain, and why or why not."""

    retrain: bool
    why: str
    circuit_open_after: str | None = None
    """Run key of the last of the trainings that did not help, where there were too many of them."""


def decide_on_windows(state: ModelState, policy: Governor, as_of: datetime, growth: float) -> Decision:
    """Retrain when M of the last N windows since the last training are bad, the latest included.

    `growth` is the share of labelled rows that are new to the champion.
    """
    past = _past(state, as_of)
    since = past[-1].as_of if past else None
    windows = [
        window for window in state.windows if window.end <= as_of and (since is None or window.end > since)
    ][-policy.of_last :]
    bad = [window for window in windows if window.bad]
    if not windows or not windows[-1].bad:
        return Decision(retrain=False, why="the latest window is good" if windows else "no window yet")
    count = f"{len(bad)} of the last {len(windows)} windows are bad"
    if len(bad) < policy.bad_windows:
        return Decision(retrain=False, why=f"{count}, retraining needs {policy.bad_windows}")
    if growth < policy.min_growth:
        return Decision(
            retrain=False, why=f"{count}, but only {growth:.0%} new rows; {policy.min_growth:.0%} needed"
        )
    if (fruitless := _fruitless(past)) >= policy.give_up_after:
        return Decision(
            retrain=False,
            why=f"{fruitless} retrainings in a row brought no new champion",
            circuit_open_after=past[-1].run_key,
        )
    return _within_limits(past, policy, as_of, f"{count}: {windows[-1].why}")


def decide_on_schedule(state: ModelState, policy: Governor, fingerprint: str, as_of: datetime) -> Decision:
    """Retrain when nothing was trained yet, drift asked for it, the last training is old, or the
    spec, features or code changed since."""
    past = _past(state, as_of)
    if state.retrain is not None:
        return Decision(retrain=True, why=state.retrain)
    if not past:
        return Decision(retrain=True, why="first training")
    age = as_of - past[-1].as_of
    if policy.max_age is not None and age >= policy.max_age:
        return _within_limits(past, policy, as_of, f"the last training is {format_duration(age)} old")
    if past[-1].fingerprint != fingerprint:
        return _within_limits(past, policy, as_of, "spec, features or code changed")
    return Decision(retrain=False, why=f"nothing new: the last training is {format_duration(age)} old")


def _within_limits(past: list[Training], policy: Governor, as_of: datetime, why: str) -> Decision:
    if past and as_of - past[-1].as_of < policy.cooldown:
        until = past[-1].as_of + policy.cooldown
        return Decision(retrain=False, why=f"{why}, but cooldown lasts until {until:%Y-%m-%d}")
    recent = [item for item in past if as_of - item.as_of < policy.budget_period]
    if len(recent) >= policy.budget:
        period = format_duration(policy.budget_period)
        return Decision(retrain=False, why=f"{why}, but the budget of {policy.budget} in {period} is spent")
    return Decision(retrain=True, why=why)


def _past(state: ModelState, as_of: datetime) -> list[Training]:
    """Trainings up to a moment, by business time; failed ones taught nothing and do not count."""
    known = [item for item in state.trainings if item.as_of <= as_of and item.outcome != "failed"]
    return sorted(known, key=lambda item: item.as_of)


def _fruitless(past: list[Training]) -> int:
    count = 0
    for training in reversed(past):
        if training.outcome == "promoted" or not training.drift:
            break
        count += 1
    return count


def as_of(slot: datetime, watermark: datetime) -> datetime:
    """Business time of a decision: the run's slot, but never later than the data reach."""
    return min(slot, watermark)
