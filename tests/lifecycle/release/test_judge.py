from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from include.lifecycle.release.bounds import lower, upper
from include.lifecycle.release.counts import Arm, Counts, Tally
from include.lifecycle.release.judge import Judgement, judge, judge_errors
from include.lifecycle.spec.release import ReleasePolicy, Tolerance
from tests.lifecycle.release.simulated import (
    LOOK_SECONDS,
    PER_SECOND,
    SHARE,
    Array,
    Requests,
)

POLICY = ReleasePolicy(slice_by="origin")
MINUTES = 10
ORIGINS = np.array(["EWR", "JFK", "LGA"])
WEIGHTS = np.array([1.0, -0.8, 0.3])
RETRAINED = WEIGHTS + np.array([0.1, 0.05, -0.1])


def _logit(score: Array) -> Array:
    return np.log(score / (1 - score))


def _score(rows: Array, weights: Array) -> Array:
    """A logistic model's probabilities of rows of three features."""
    return 1 / (1 + np.exp(1 - rows @ weights))


def _requests(
    seed: int = 1,
    candidate: Callable[[Array], Array] = lambda rows: _score(rows, RETRAINED),
    share: float = SHARE,
) -> Requests:
    rng, number = np.random.default_rng(seed), MINUTES * 60 * PER_SECOND
    rows = rng.normal(size=(number, 3))
    return Requests(
        champion=np.where(rng.random(number) < 0.001, np.nan, _score(rows, WEIGHTS)),
        candidate=candidate(rows),
        slices=rng.choice(ORIGINS, number),
        to_candidate=rng.random(number) < share,
        slow=rng.random(number) < 0.01,
        slow_copies=rng.random(number) < 0.01,
    )


def _stopped(requests: Requests, policy: ReleasePolicy = POLICY) -> tuple[int | None, Judgement]:
    """At which second the candidate is stopped, looked at every ten, and the last judgement."""
    for second in range(LOOK_SECONDS, MINUTES * 60 + 1, LOOK_SECONDS):
        judgement = judge(requests.after(second), policy)
        if judgement.stop:
            return second, judgement
    return None, judgement


def _noise(rows: Array) -> Array:
    return np.random.default_rng(9).random(len(rows))


WRONG_ANSWERS = {
    "halved": lambda rows: _score(rows, RETRAINED) / 2,
    "constant": lambda rows: np.full(len(rows), _score(rows, RETRAINED).mean()),
    "features swapped": lambda rows: _score(rows[:, [1, 0, 2]], RETRAINED),
    "inverted": lambda rows: 1 - _score(rows, RETRAINED),
    "noise": _noise,
    "shifted": lambda rows: 1 / (1 + np.exp(-_logit(_score(rows, RETRAINED)) - 2)),
    "a feature missing": lambda rows: _score(rows * [0, 1, 1], RETRAINED),
    "a fifth fails": lambda rows: np.where(_noise(rows) < 0.2, np.nan, _score(rows, RETRAINED)),
    "always fails": lambda rows: np.full(len(rows), np.nan),
}


@pytest.mark.parametrize("fault", WRONG_ANSWERS)
def test_a_candidate_that_answers_wrongly_is_stopped_within_a_minute(fault: str) -> None:
    second, _ = _stopped(_requests(candidate=WRONG_ANSWERS[fault]))
    assert second is not None
    assert second <= 60


def test_a_slow_candidate_is_stopped_within_a_minute() -> None:
    requests = _requests()
    often = np.random.default_rng(5).random(len(requests.slow)) < 0.3
    second, judgement = _stopped(replace(requests, slow=requests.slow | (requests.to_candidate & often)))
    assert second is not None
    assert second <= 60
    assert "slower than 50 ms" in judgement.why


def test_a_slow_shadow_is_stopped_within_a_minute() -> None:
    requests = _requests(share=0)
    often = np.random.default_rng(5).random(len(requests.slow)) < 0.3
    second, judgement = _stopped(replace(requests, slow_copies=often))
    assert second is not None
    assert second <= 60
    assert judgement.why.startswith("its share of copies slower than 50 ms is higher")


@pytest.mark.parametrize("seed", range(10))
def test_a_healthy_retrained_candidate_is_not_stopped(seed: int) -> None:
    second, judgement = _stopped(_requests(seed))
    assert second is None, judgement.why
    assert [finding.check for finding in judgement.findings] == [
        "failed",
        "slow",
        "slow copies",
        "score",
        "difference",
        *(f"slice {origin}" for origin in ORIGINS),
    ]


def test_a_candidate_just_at_its_tolerances_is_not_stopped() -> None:
    stopped = 0
    for seed in range(20):
        requests = _requests(seed)
        candidate = np.clip(requests.champion + 0.1, 0, 1)
        stopped += _stopped(replace(requests, candidate=candidate))[0] is not None
    assert stopped <= 1


@pytest.mark.parametrize("fault", ["halved", "a fifth fails"])
def test_a_shadow_that_goes_wrong_is_stopped_though_users_never_saw_it(fault: str) -> None:
    second, _ = _stopped(_requests(candidate=WRONG_ANSWERS[fault], share=0))
    assert second is not None
    assert second <= 60


def test_one_slice_that_is_answered_too_low_is_found_and_named() -> None:
    requests = _requests()
    jfk = requests.slices == "JFK"
    lowered = np.where(jfk, np.clip(requests.candidate - 0.25, 0, 1), requests.candidate)
    tolerant = POLICY.model_copy(update={"tolerance": Tolerance(score=1, difference=1)})
    second, judgement = _stopped(replace(requests, candidate=lowered), tolerant)
    assert second is not None
    assert [finding.check for finding in judgement.findings if finding.exceeded] == ["slice JFK"]
    assert judgement.why.startswith("its answers where origin is JFK are lower by 0.18")


def test_a_slice_may_have_any_name() -> None:
    judgement = judge(Counts(slices={"{a} 100%": Tally(count=1000, total=999, variation=1)}), POLICY)
    assert judgement.why.startswith("its answers where origin is {a} 100% are higher by 0.998")


def test_the_reason_tells_what_was_seen_what_is_certain_and_what_is_tolerated() -> None:
    tally = Tally(count=412, total=412 * 0.31, variation=4)
    judgement = judge(Counts(difference=tally), POLICY)
    assert judgement.stop
    assert judgement.why == (
        "its answers to the same rows differ by 0.310 in the mean (at least 0.283 with certainty 95%), "
        "tolerated are 0.1; 412 rows"
    )


def test_the_probability_of_a_false_alarm_is_shared_among_checks_directions_and_means() -> None:
    few, many = Tally(count=500, total=100, variation=50), Tally(count=5000, total=500, variation=400)
    candidate, champion = Arm(failed=few, slow=few, score=few), Arm(failed=many, slow=many, score=many)
    counts = Counts(candidate=candidate, champion=champion, difference=few, slices={"JFK": many, "LGA": many})
    found = {finding.check: finding.at_least for finding in judge(counts, POLICY).findings}
    found |= {finding.check: finding.at_least for finding in judge_errors(few, many, POLICY).findings}
    each = POLICY.tolerance.false_alarms / 7
    a_slice = each / 6  # of two
    assert found == pytest.approx(
        {
            "failed": lower(few, each / 2) - upper(many, each / 2),
            "slow": lower(few, each / 2) - upper(many, each / 2),
            "score": lower(few, each / 4) - upper(many, each / 4),
            "difference": lower(few, each),
            "slice JFK": 1 - 2 * upper(many, a_slice / 4),
            "slice LGA": 1 - 2 * upper(many, a_slice / 4),
            "error": lower(few, each / 2) - upper(many, each / 2),
        }
    )


def test_a_candidate_that_always_fails_is_stopped_after_a_few_requests() -> None:
    def of(requests: int) -> Counts:
        fails = Tally(count=requests, total=requests, variation=0.25)
        works = Tally(count=9 * requests, total=0, variation=0.25)
        return Counts(candidate=Arm(failed=fails), champion=Arm(failed=works))

    assert not judge(of(3), POLICY).stop
    assert judge(of(12), POLICY).stop


ONE_SIDED = [
    Counts(),
    Counts(champion=Arm(failed=Tally(count=500, variation=0.25))),
    Counts(candidate=Arm(failed=Tally(count=500, total=500, variation=0.25))),
    Counts(difference=Tally(count=1, total=1, variation=0.25)),
]


@pytest.mark.parametrize("counts", ONE_SIDED)
def test_without_data_on_both_sides_nobody_is_stopped(counts: Counts) -> None:
    assert not judge(counts, ReleasePolicy()).stop


def test_a_judgement_of_nothing_says_so() -> None:
    assert judge(Counts(), POLICY) == Judgement(stop=False, why="nothing counted yet")
