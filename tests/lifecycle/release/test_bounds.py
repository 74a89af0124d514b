import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.release.bounds import lower, upper
from include.lifecycle.release.counts import Tally
from tests.lifecycle.release.simulated import Stream

ALPHA, RUNS, NUMBERS = 0.1, 300, 120
NUMBER = st.floats(0, 1)
SPREADS = {
    "coin": lambda rng, size: rng.random(size) < 0.5,
    "skewed": lambda rng, size: rng.beta(1, 9, size),
}
MEANS = {"coin": 0.5, "skewed": 0.1}


def _tally(numbers: list[float]) -> Tally:
    values = np.array(numbers, dtype=float)
    return Stream(values, np.ones(len(values), dtype=bool)).first(len(values))


@pytest.mark.parametrize("spread", SPREADS)
def test_a_stream_looked_at_after_every_number_leaves_its_bounds_in_less_than_alpha_of_the_runs(
    spread: str,
) -> None:
    rng, everything = np.random.default_rng(7), np.ones(NUMBERS, dtype=bool)
    left = 0
    for _ in range(RUNS):
        stream = Stream(SPREADS[spread](rng, NUMBERS), everything)
        looks = (stream.first(number) for number in range(1, NUMBERS + 1))
        left += any(not _holds(tally, MEANS[spread]) for tally in looks)
    assert left < ALPHA * RUNS


def _holds(tally: Tally, mean: float) -> bool:
    return lower(tally, ALPHA / 2) <= mean <= upper(tally, ALPHA / 2)


def test_tallies_of_several_servers_hold_together_as_well() -> None:
    rng, part = np.random.default_rng(8), np.ones(NUMBERS // 4, dtype=bool)
    left = 0
    for _ in range(RUNS):
        servers = [Stream(rng.random(NUMBERS // 4) < 0.3, part) for _ in range(4)]
        looks = (sum((one.first(n) for one in servers), Tally()) for n in range(1, NUMBERS // 4 + 1))
        left += any(not _holds(tally, 0.3) for tally in looks)
    assert left < ALPHA * RUNS


@given(numbers=st.lists(NUMBER, min_size=1, max_size=60), alpha=st.floats(1e-9, 0.5))
def test_bounds_hold_the_mean_that_was_seen_and_mirror_each_other(numbers: list[float], alpha: float) -> None:
    tally = _tally(numbers)
    assert 0 <= lower(tally, alpha) <= tally.mean + 1e-9
    assert tally.mean - 1e-9 <= upper(tally, alpha) <= 1
    mirror = _tally([1 - number for number in numbers])
    assert lower(mirror, alpha) == pytest.approx(1 - upper(tally, alpha), abs=1e-4)


@given(numbers=st.lists(NUMBER, min_size=1, max_size=60), alpha=st.floats(1e-9, 0.4))
def test_more_certainty_needs_wider_bounds(numbers: list[float], alpha: float) -> None:
    tally = _tally(numbers)
    assert lower(tally, alpha) <= lower(tally, 1.2 * alpha)


def test_nothing_is_known_of_no_numbers() -> None:
    assert (lower(Tally(), 0.05), upper(Tally(), 0.05)) == (0, 1)


def test_ever_more_numbers_lead_to_the_mean() -> None:
    widths = []
    for count in (100, 10_000, 1_000_000, 100_000_000):
        tally = Tally(count=count, total=0.25 * count, variation=0.04 * count)
        assert lower(tally, 0.01) < 0.25 < upper(tally, 0.01)
        widths.append(upper(tally, 0.01) - lower(tally, 0.01))
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.001


@pytest.mark.parametrize("variation", [0.25, 5.0, 600.0, 1e6])
@pytest.mark.parametrize("alpha", [0.02, 0.005, 1e-8])
def test_the_bound_is_that_of_the_exact_mixture(variation: float, alpha: float) -> None:
    """Where the mixture of Proposition 9, by SciPy's incomplete gamma function, reaches 1 / alpha."""
    from scipy.optimize import brentq
    from scipy.special import gammainc, gammaln

    def log_mixture(excess: float) -> float:
        a, y = variation + 1, variation + 1 + excess
        return float(y - a * np.log(y) + gammaln(a) + np.log(gammainc(a, y)) - np.log(np.e - 1))

    exact = brentq(lambda excess: log_mixture(excess) + np.log(alpha), 1e-9, 1e5)
    count = int(4 * exact) + 1
    tally = Tally(count=count, total=count * 0.5, variation=variation)
    assert lower(tally, alpha) == pytest.approx(0.5 - exact / count, abs=2e-3)
    assert lower(tally, alpha) <= 0.5 - exact / count + 1e-9
