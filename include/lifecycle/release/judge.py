"""Does a candidate fail, dawdle or answer otherwise than the champion, beyond what is tolerated?

What servers counted decides, by bounds that hold however often one looks: a candidate within the
tolerances is stopped with at most the probability `false_alarms`, over its whole way. Each check has an
equal part of it, and shares that among its directions and the means that it compares (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from include.lifecycle.release.bounds import lower, mirrored, upper
from include.lifecycle.release.counts import Counts, Tally
from include.lifecycle.spec.release import ReleasePolicy
from include.lifecycle.spec.value import Value

_KINDS = 7
"""Of checks: failed, slow, slow copies, score, difference, slices, error."""


class Finding(Value):
    """What one check found; shares and probabilities are in [0, 1]."""

    check: str
    """`failed`, `slow`, `slow copies`, `score`, `difference`, `error`, or `slice` and its value."""
    seen: float
    """By how much the candidate's mean was beyond the champion's."""
    at_least: float
    """By how much it is for certain; 0 or less: perhaps not at all."""
    tolerated: float
    count: int
    """Of the candidate's requests or rows."""
    why: str

    @property
    def exceeded(self) -> bool:
        """Whether it is certain that the candidate is beyond the tolerance."""
        return self.at_least > self.tolerated


class Judgement(Value):
    """Whether a candidate must be stopped, and why."""

    stop: bool
    why: str
    findings: tuple[Finding, ...] = ()
    """Of each check that had something to compare."""


@dataclass(frozen=True)
class _Check:
    """Is the candidate's mean farther above the champion's than is tolerated?"""

    name: str
    text: str
    unit: str
    candidate: Tally
    champion: Tally | None
    """None: the numbers compare both versions already."""
    tolerated: float
    alpha: float
    two_sided: bool = False
    """Farther below counts as well."""

    @property
    def has_data(self) -> bool:
        """Whether there is something on both sides."""
        return self.candidate.count > 0 and (self.champion is None or self.champion.count > 0)


def judge(counts: Counts, policy: ReleasePolicy) -> Judgement:
    """Stop a candidate that is certainly beyond a tolerance; without data there is nothing to stop."""
    return _judged(_checks(counts, policy), policy, _amount(counts))


def judge_errors(candidate: Tally, champion: Tally, policy: ReleasePolicy) -> Judgement:
    """The same by the squared errors of both versions' answers, of which the label is known by now."""
    allowed = policy.tolerance
    text, alpha = "its squared error is higher", allowed.false_alarms / _KINDS
    check = _Check("error", text, "labelled rows", candidate, champion, allowed.error, alpha)
    return _judged([check], policy, f"{candidate.count:,} labelled rows")


def _judged(checks: Iterable[_Check], policy: ReleasePolicy, amount: str) -> Judgement:
    certainty = 1 - policy.tolerance.false_alarms
    findings = tuple(_look(check, certainty) for check in checks if check.has_data)
    exceeded = [finding.why for finding in findings if finding.exceeded]
    if exceeded:
        return Judgement(stop=True, why="; ".join(exceeded), findings=findings)
    why = f"nothing is certainly beyond its tolerance: {amount}" if findings else "nothing counted yet"
    return Judgement(stop=False, why=why, findings=findings)


def _checks(counts: Counts, policy: ReleasePolicy) -> Iterator[_Check]:
    candidate, champion, allowed = counts.candidate, counts.champion, policy.tolerance
    alpha, requests, rows = allowed.false_alarms / _KINDS, "requests", "rows"
    failed = candidate.failed + counts.copies.failed
    text = "its share of failed requests is higher"
    yield _Check("failed", text, requests, failed, champion.failed, allowed.failed, alpha)
    slower = f"slower than {allowed.slower_than_ms:g} ms is higher"
    text = f"its share of requests {slower}"
    yield _Check("slow", text, requests, candidate.slow, champion.slow, allowed.slow, alpha)
    # Copies are neither read nor logged nor sent, but they wait while answers are made.
    text, copies = f"its share of copies {slower} than the champion's of requests", counts.copies.slow
    yield _Check("slow copies", text, "copies", copies, champion.slow, allowed.slow, alpha)
    text = "its mean answer is"
    yield _Check("score", text, rows, candidate.score, champion.score, allowed.score, alpha, two_sided=True)
    text = "its answers to the same rows differ"
    yield _Check("difference", text, rows, counts.difference, None, allowed.difference, alpha)
    yield from _slices(counts, policy, alpha)


def _slices(counts: Counts, policy: ReleasePolicy, alpha: float) -> Iterator[_Check]:
    """A check for each slice, of k slices at alpha / (k (k + 1)): the k-th to appear never had more, and
    over all k these add up to alpha, however many are still to come.

    Of a difference d, (1 + d) / 2 was tallied; its mean is by the mean of d above that of (1 - d) / 2.
    """
    slices = counts.slices if policy.slice_by is not None else {}
    for value, tally in slices.items():
        each = alpha / (len(slices) * (len(slices) + 1))
        name, text = f"slice {value}", f"its answers where {policy.slice_by} is {value} are"
        other, tolerated = mirrored(tally), policy.tolerance.slice
        yield _Check(name, text, "rows", tally, other, tolerated, each, two_sided=True)


def _look(check: _Check, certainty: float) -> Finding:
    """Judge one check; of two directions only the one that was seen can be certain."""
    high, low, way = check.candidate, check.champion, " higher"
    if check.two_sided and low is not None and high.mean < low.mean:
        high, low, way = low, high, " lower"
    seen = high.mean - (low.mean if low is not None else 0)
    at_least = _at_least(high, low, check.alpha / 2 if check.two_sided else check.alpha)
    what = check.text + way if check.two_sided else check.text
    why = (
        f"{what} by {seen:.3f} in the mean (at least {max(0, at_least):.3f} with certainty {certainty:.0%}), "
        f"tolerated are {check.tolerated:g}; {check.candidate.count:,} {check.unit}"
    )
    return Finding(
        check=check.name,
        seen=seen,
        at_least=at_least,
        tolerated=check.tolerated,
        count=check.candidate.count,
        why=why,
    )


def _at_least(high: Tally, low: Tally | None, alpha: float) -> float:
    """By how much one mean is above another (None: above 0); wrong with at most `alpha`."""
    return lower(high, alpha) if low is None else lower(high, alpha / 2) - upper(low, alpha / 2)


def _amount(counts: Counts) -> str:
    requests = counts.candidate.failed.count + counts.copies.failed.count
    return f"{requests:,} requests and copies, {counts.difference.count:,} rows that both scored"
