"""How often is a healthy canary stopped, and how soon one with a fault?

`python -m tests.benchmarks canary` trains the example as of June and of July 2013 by the project's own
step. Requests are flights of July, drawn with a seed, 50 a second; a tenth of them is answered by the
candidate, and all are copied to the other version. The judge looks every ten seconds for an hour. Then
faults are put into the candidate's inputs, answers or replies. PERENNIAL_CANARIES changes the number of
healthy canaries.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from include.lifecycle.release.judge import Judgement, judge
from include.lifecycle.spec.release import ReleasePolicy
from tests.benchmarks.figures import Figure, at_most, plain, print_figures
from tests.benchmarks.month_apart import Array, MonthApart, month_apart
from tests.lifecycle.release.simulated import LOOK_SECONDS, PER_SECOND, SHARE, Requests

CANARIES = int(os.environ.get("PERENNIAL_CANARIES") or 300)
FAULTY = max(1, min(20, CANARIES))
HOUR, TEN_MINUTES = 3600, 600
MAX_FALSE_ALARMS, MAX_SECONDS = 5.0, 60
FAILURES, SLOW = 0.001, 0.01
"""Shares of the requests to a healthy version that fail, and that are slow."""
POLICY = ReleasePolicy(slice_by="origin")
SLICE = "JFK"


@dataclass(frozen=True)
class Candidate:
    """What a candidate answers to each row of the month, and how well it replies."""

    scores: Array
    failures: float = FAILURES
    slow: float = SLOW


def _shifted(scores: Array, shift: float) -> Array:
    return 1 / (1 + (1 / scores - 1) * np.exp(-shift))


FAULTS: dict[str, Callable[[MonthApart], Candidate]] = {
    "scores halved": lambda july: Candidate(july.candidate / 2),
    "the same answer to all": lambda july: Candidate(np.full_like(july.candidate, july.candidate.mean())),
    "two features swapped": lambda july: Candidate(
        july.candidate_given({"humid": july.columns["pressure"], "pressure": july.columns["humid"]})
    ),
    "scores inverted": lambda july: Candidate(1 - july.candidate),
    "noise": lambda july: Candidate(np.random.default_rng(0).random(len(july.candidate))),
    "logit shifted by 2": lambda july: Candidate(_shifted(july.candidate, 2)),
    "a feature is 0": lambda july: Candidate(
        july.candidate_given({"sched_dep_time": np.zeros(len(july.candidate))})
    ),
    "a third is slow": lambda july: Candidate(july.candidate, slow=0.33),
    "a fifth fails": lambda july: Candidate(july.candidate, failures=0.2),
    "all fails": lambda july: Candidate(july.candidate, failures=1),
}


def run() -> list[Figure]:
    """Train, then judge healthy and faulty canaries."""
    with TemporaryDirectory(prefix="perennial-canary-") as name:
        july = month_apart(Path(name))
        apart = july.candidate - july.champion
        print(
            f"{len(apart):,} flights: the versions differ by {np.abs(apart).mean():.3f} ({apart.mean():+.3f})"
        )
        return [*_healthy(july), *_faulty(july), *_biased(july)]


def _healthy(july: MonthApart) -> list[Figure]:
    """How many canaries within the tolerances are stopped, and of healthy ones on one day's flights."""
    healthy, days = Candidate(july.candidate), np.unique(july.day)
    of_day = [
        int(day)
        for day in days
        if _stopped(_requests(july, healthy, int(day), HOUR, among=july.day == day)) is not None
    ]
    print(f"days whose flights alone would stop a healthy one: {of_day}")
    return [
        _false_alarms("healthy ones", july, healthy),
        _false_alarms("at the tolerance", july, _just_tolerated(july)),
        plain("canary: days of July that alone would stop it", f"{len(of_day)} of {len(days)}"),
    ]


def _false_alarms(name: str, july: MonthApart, candidate: Candidate) -> Figure:
    stopped = sum(_stopped(_requests(july, candidate, seed, HOUR)) is not None for seed in range(CANARIES))
    share = 100 * stopped / CANARIES
    return at_most(f"canary: false alarms of {CANARIES} {name}", MAX_FALSE_ALARMS, share, ".1f", " %")


def _just_tolerated(july: MonthApart) -> Candidate:
    """One whose answers differ by just as much as is tolerated, in the mean: every second by twice that."""
    apart = 2 * POLICY.tolerance.difference * (np.arange(len(july.champion)) % 2)
    return Candidate(july.champion + np.where(july.champion < 0.5, apart, -apart))


def _faulty(july: MonthApart) -> list[Figure]:
    """Seconds until each fault is stopped, and the users' requests that the candidate answered."""
    print(f"{'fault':24} {'median':>8} {'longest':>8} {'touched':>8} {'of the hour':>12} {'in shadow':>10}")
    figures = []
    for name, fault in FAULTS.items():
        candidate = fault(july)
        seconds, touched = _stops(july, candidate, SHARE)
        in_shadow, _ = _stops(july, candidate, 0)
        part = np.median(touched) / (HOUR * PER_SECOND)
        print(
            f"{name:24} {np.median(seconds):6.0f} s {max(seconds):6.0f} s {np.median(touched):8.0f} "
            f"{part:12.3%} {np.median(in_shadow):8.0f} s"
        )
        figures.append(at_most(f"canary: {name}: stopped after", MAX_SECONDS, max(seconds), ".0f", " s"))
    return figures


def _stops(july: MonthApart, candidate: Candidate, share: float) -> tuple[list[float], list[int]]:
    """Of several runs: seconds until it was stopped (infinite: not in ten minutes), and how many requests
    it had answered by then."""
    seconds, touched = [], []
    for seed in range(FAULTY):
        requests = _requests(july, candidate, seed, TEN_MINUTES, share=share)
        second = _stopped(requests)
        seconds.append(float("inf") if second is None else float(second))
        touched.append(int(requests.to_candidate[: (second or TEN_MINUTES) * PER_SECOND].sum()))
    return seconds, touched


def _biased(july: MonthApart) -> list[Figure]:
    """How often a shadow shows within ten minutes that one slice is answered too high."""
    figures = []
    for bias in (0.1, 0.2, 0.3):
        there = july.columns["origin"] == SLICE
        candidate = Candidate(np.clip(july.candidate + bias * there, 0, 1))
        found = 0
        for seed in range(FAULTY):
            requests = _requests(july, candidate, seed, TEN_MINUTES, share=0)
            found += _stopped(requests, _names_slice) is not None
        figures.append(plain(f"canary: {SLICE} {bias:+} found in 10 minutes", f"{found} of {FAULTY}"))
    return figures


def _requests(
    july: MonthApart,
    candidate: Candidate,
    seed: int,
    seconds: int,
    *,
    share: float = SHARE,
    among: Array | None = None,
) -> Requests:
    """Requests drawn from the month, or from some of its rows."""
    rng, number = np.random.default_rng(seed), seconds * PER_SECOND
    rows = np.flatnonzero(np.ones(len(july.day), dtype=bool) if among is None else among)
    drawn = rng.choice(rows, number)
    to_candidate = rng.random(number) < share
    return Requests(
        champion=np.where(rng.random(number) < FAILURES, np.nan, july.champion[drawn]),
        candidate=np.where(rng.random(number) < candidate.failures, np.nan, candidate.scores[drawn]),
        slices=july.columns["origin"][drawn],
        to_candidate=to_candidate,
        slow=rng.random(number) < np.where(to_candidate, candidate.slow, SLOW),
        slow_copies=rng.random(number) < candidate.slow,
    )


def _names_slice(judgement: Judgement) -> bool:
    return any(finding.exceeded for finding in judgement.findings if finding.check == f"slice {SLICE}")


def _stopped(
    requests: Requests, stops: Callable[[Judgement], bool] = lambda judgement: judgement.stop
) -> int | None:
    """At which second a candidate is stopped, looked at every ten; None: never."""
    last = len(requests.champion) // PER_SECOND
    for second in range(LOOK_SECONDS, last + 1, LOOK_SECONDS):
        if stops(judge(requests.after(second), POLICY)):
            return second
    return None


if __name__ == "__main__":
    print_figures(run())
