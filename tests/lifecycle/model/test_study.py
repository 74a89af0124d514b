from __future__ import annotations

from typing import Any, Literal

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.lifecycle.model.study import Outcome, Trial, ask, choose_best, open_trial, rungs_of
from include.lifecycle.spec.search import Range, Search

State = Literal["complete", "pruned", "running", "failed"]
SPACE = {
    "max_depth": {"int": [2, 8]},
    "learning_rate": {"float": [0.01, 0.3], "log": True},
    "booster": {"categorical": ["gbtree", "dart"]},
}
SEGMENTS = range(10, 100, 10)


def search_of(**settings: Any) -> Search:
    return Search.model_validate({"space": SPACE, "segment": 10, **settings})


def trial_of(parameters: dict[str, Any], state: State, value: float) -> Trial:
    outcome = Outcome(
        state=state,
        value=value if state == "complete" else None,
        intermediate={trees: value + 1 / trees for trees in SEGMENTS}
        if state in ("complete", "pruned")
        else {},
    )
    return Trial(parameters=parameters, outcome=outcome)


def history(search: Search, ends: list[tuple[State, float]]) -> list[Trial]:
    """Trials as they were asked, one after the other."""
    trials: list[Trial] = []
    for state, value in ends:
        trials.append(trial_of(ask(search, {}, trials), state, value))
    return trials


def by_learning_rate(parameters: dict[str, Any]) -> float:
    """What a trial of a world would measure in which small learning rates do best."""
    return float(parameters["learning_rate"]) + float(parameters["max_depth"]) / 1000


spans = st.one_of(
    st.tuples(st.integers(1, 50), st.integers(1, 50), st.booleans()).map(
        lambda drawn: Range(int=(drawn[0], drawn[0] + drawn[1]), log=drawn[2])
    ),
    st.tuples(st.floats(1e-6, 10), st.floats(1e-3, 10), st.booleans()).map(
        lambda drawn: Range(float=(drawn[0], drawn[0] + drawn[1]), log=drawn[2])
    ),
    st.lists(st.sampled_from(["a", "b", 1, 2.5]), min_size=2, unique=True).map(
        lambda values: Range(categorical=tuple(values))
    ),
)
states: list[State] = ["complete", "pruned", "running", "failed"]
ends = st.lists(st.tuples(st.sampled_from(states), st.floats(0, 1)), max_size=16)


@settings(max_examples=25)
@given(space=st.dictionaries(st.sampled_from("abcd"), spans, min_size=1), ends=ends, seed=st.integers(0, 99))
def test_parameters_lie_in_the_space_whatever_the_trials_before_came_to(
    space: dict[str, Range], ends: list[tuple[State, float]], seed: int
) -> None:
    search = Search(space=space, seed=seed)
    for trial in history(search, ends):
        assert trial.parameters.keys() == space.keys()
        assert all(space[name].contains(value) for name, value in trial.parameters.items())


@settings(max_examples=25)
@given(ends=ends, metric=st.sampled_from(["brier", "auc"]))
def test_asking_again_gives_the_same_parameters(ends: list[tuple[State, float]], metric: str) -> None:
    search = search_of(metric=metric)
    trials = history(search, ends)
    for number, trial in enumerate(trials):
        assert ask(search, {}, trials[:number]) == trial.parameters


def test_another_seed_asks_otherwise() -> None:
    asked = [ask(search_of(seed=seed), {}, []) for seed in range(5)]
    assert len({str(parameters) for parameters in asked}) == 5


@pytest.mark.parametrize(
    ("given_parameters", "expected"),
    [
        (
            {"max_depth": 4, "learning_rate": 0.05, "booster": "dart"},
            ("max_depth", "learning_rate", "booster"),
        ),
        ({"max_depth": 9, "learning_rate": 0.05, "subsample": 0.5}, ("learning_rate",)),
        ({"booster": "gblinear"}, ()),
    ],
)
def test_the_first_trial_tries_what_the_model_has_where_the_space_holds_it(
    given_parameters: dict[str, Any], expected: tuple[str, ...]
) -> None:
    first = ask(search_of(), given_parameters, [])
    assert first.keys() == SPACE.keys()
    assert {name: first[name] for name in expected} == {name: given_parameters[name] for name in expected}
    assert all(search_of().space[name].contains(value) for name, value in first.items())


def test_a_search_learns_from_its_trials() -> None:
    search, trials = search_of(), list[Trial]()
    for _ in range(40):
        parameters = ask(search, {}, trials)
        trials.append(trial_of(parameters, "complete", by_learning_rate(parameters)))
    rates = [float(trial.parameters["learning_rate"]) for trial in trials]
    assert sum(rates[-10:]) < sum(rates[:10]) / 2


def test_trials_that_run_count_and_those_that_failed_do_not() -> None:
    """Those of one round would be alike otherwise: each sees the same results."""
    search, done = search_of(), list[Trial]()
    for _ in range(12):
        parameters = ask(search, {}, done)
        done.append(trial_of(parameters, "complete", by_learning_rate(parameters)))
    next_one = ask(search, {}, done)
    rounds = {state: [trial_of(next_one, state, 0)] * 8 for state in states}
    unknown = [Trial(outcome=Outcome(state="failed"))] * 8
    asked = {state: ask(search, {}, [*done, *trials]) for state, trials in rounds.items()}
    assert asked["failed"] == ask(search, {}, [*done, *unknown])
    assert asked["running"] != asked["failed"]


def reported(search: Search, trials: list[Trial], values: list[float]) -> tuple[optuna.Trial, int]:
    """A trial that was told of these values, and after how many it should end."""
    trial = open_trial(search, trials, {"max_depth": 3, "learning_rate": 0.1, "booster": "dart"})
    for place, value in enumerate(values):
        trial.report(value, 10 * (place + 1))
        if trial.should_prune():
            return trial, place + 1
    return trial, len(values) + 1


def test_a_trial_that_is_worse_than_most_is_pruned_and_a_better_one_is_not() -> None:
    search = search_of(pruner="median")
    trials = history(search, [("complete", value / 10) for value in range(1, 7)])
    assert reported(search, trials, [0.9, 0.9])[1] == 1
    assert reported(search, trials, [0.2, 0.2])[1] == 3
    assert reported(search_of(pruner="none"), trials, [0.9, 0.9])[1] == 3
    assert reported(search_of(pruner="median", metric="auc"), trials, [0.9, 0.9])[1] == 3


def test_halving_goes_by_the_rungs_that_earlier_trials_reached() -> None:
    search, trials = search_of(pruner="successive_halving"), list[Trial]()
    for value in (0.1, 0.2, 0.3, 0.4):
        trial, after = reported(search, trials, [value] * 9)
        assert trial.number == len(trials)
        assert after == (10 if value == 0.1 else 1)
        outcome = Outcome(
            state="complete" if after == 10 else "pruned",
            value=value if after == 10 else None,
            intermediate={10 * (place + 1): value for place in range(min(after, 9))},
            rungs=rungs_of(trial),
        )
        assert outcome.rungs["completed_rung_0"] == value
        trials.append(Trial(parameters=dict(trial.params), outcome=outcome))
    without = [
        trial.model_copy(update={"outcome": trial.outcome.model_copy(update={"rungs": {}})})
        for trial in trials
    ]
    assert reported(search, without, [0.5] * 9)[1] == 10, "the rungs are what is compared"


@pytest.mark.parametrize("pruner", ["hyperband", "successive_halving", "median", "none"])
def test_every_pruner_takes_a_trial_that_nothing_came_before(pruner: str) -> None:
    assert reported(search_of(pruner=pruner), [], [0.5] * 9)[1] > 1
    unknown = [Trial(outcome=Outcome(state="failed"))] * 5
    assert reported(search_of(pruner=pruner), unknown, [0.5] * 9)[0].number == 5


def test_the_best_completed_trial_wins_the_earlier_of_two() -> None:
    values: list[tuple[State, float]] = [
        ("failed", 0), ("complete", 0.3), ("complete", 0.2), ("complete", 0.2), ("pruned", 0.1),
    ]  # fmt: skip
    trials = [trial_of({}, state, value) for state, value in values]
    found = choose_best(search_of(), trials)
    assert found.number == 2
    assert found.why == "trial 2 has the best brier, 0.20000, of 5 (1 pruned, 1 failed)"
    assert choose_best(search_of(metric="auc"), trials).number == 1


def test_nobody_wins_where_no_trial_was_completed() -> None:
    found = choose_best(search_of(), [trial_of({}, "failed", 0), trial_of({}, "pruned", 0)])
    assert found.number is None
    assert found.why == "none of 2 trials was completed"
