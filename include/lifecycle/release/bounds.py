"""Between which bounds does the mean of a stream lie, however often one looks?

The empirical-Bernstein confidence sequence of Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform,
nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49(2), 2021: Theorem 4 with the
gamma-exponential mixture of Proposition 9, for c = 1 and rho = 1.

It needs no independence and no constant mean: what it bounds is the mean of what each number was
expected to be, given those before it. The theorem allows any prediction of a number from those before,
here the running mean of its own server. Therefore tallies of several servers, whose numbers fall into
one another's gaps in any order, are a tally of one stream.
"""

from __future__ import annotations

import math

from include.lifecycle.release.counts import Tally

_STEPS = 20
"""Halvings of an interval: to a millionth of it."""


def lower(tally: Tally, alpha: float) -> float:
    """What the mean is at least, in [0, 1]; wrong at any time with at most the probability `alpha`."""
    if not tally.count:
        return 0.0
    return max(0.0, tally.mean - _beyond(tally.variation, alpha) / tally.count)


def upper(tally: Tally, alpha: float) -> float:
    """What the mean is at most, in [0, 1]; wrong at any time with at most the probability `alpha`."""
    return 1 - lower(mirrored(tally), alpha)


def mirrored(tally: Tally) -> Tally:
    """The tally of 1 - x for each number x."""
    return tally.model_copy(update={"total": tally.count - tally.total})


def _beyond(variation: float, alpha: float) -> float:
    """How far a sum exceeds what was expected at any time with at most the probability `alpha`.

    The distance at which the mixture reaches 1 / alpha (Ville's inequality). It is never less than
    log(1 / alpha): the search begins there.
    """
    wanted = -math.log(alpha)
    low, high = wanted, 2 * wanted
    while _log_mixture(high, variation) < wanted:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if _log_mixture(middle, variation) >= wanted else (middle, high)
    return high


def _log_mixture(excess: float, variation: float) -> float:
    """Log of Proposition 9's mixture at an excess > 0, from below by a hair.

    With a = variation + 1 and y = a + excess it is exp(y) y**-a Gamma(a) P(a, y) / (e - 1). For the
    incomplete gamma function P stands Chernoff's bound 1 - (y / a)**a exp(a - y), which is short of it
    by less than `alpha` where the search ends.
    """
    a = variation + 1
    y = a + excess
    rest = -math.expm1(a * math.log1p(excess / a) - excess)
    return y - a * math.log(y) + math.lgamma(a) + math.log(rest) - math.log(math.e - 1)
