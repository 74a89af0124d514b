from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.lifecycle.data.point_in_time import EVENT_TIME, KEY, LABEL
from include.lifecycle.model.training_set import InMemory
from include.lifecycle.monitor.drift import Reference, describe, stability
from tests.lifecycle.tiny import Project

pytestmark = pytest.mark.usefixtures("project")


def _features(count: int, seed: int = 1, shift: float = 0.0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "rain": np.where(draw.uniform(size=count) < 0.1, np.nan, draw.normal(shift, 1, count)),
            "stops": draw.integers(0, 3, count),
            "express": draw.uniform(size=count) < 0.4,
            "city": draw.choice(np.array(["BER", "MUC", None], dtype=object), count),
            "always": np.ones(count),
            "never": np.full(count, np.nan),
        }
    )


def _days(count: int, days: int = 30) -> pd.Series:
    hours = np.linspace(0, days * 24 - 1, count).astype(int)
    return pd.Series(pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(hours, unit="h"))


def _table(features: pd.DataFrame, moments: pd.Series) -> InMemory:
    rows = pd.DataFrame({KEY: features.index.astype(str), EVENT_TIME: moments, LABEL: 1.0})
    return InMemory(rows, features)


def _references(features: pd.DataFrame) -> dict[str, Reference]:
    return describe(_table(features, _days(len(features))), timedelta(days=7))


def test_the_training_itself_shows_no_drift() -> None:
    features = _features(1000)
    assert stability(features, _references(features)) == dict.fromkeys(features, 0.0)


@given(order=st.randoms(use_true_random=False))
@settings(max_examples=5)
def test_the_order_of_rows_does_not_matter(project: Project, order: np.random.Generator) -> None:
    features = _features(300)
    places = list(range(300))
    order.shuffle(places)
    turned = stability(features.iloc[places], _references(features))
    assert turned == dict.fromkeys(features, 0.0)


@pytest.mark.parametrize("times", [2, 20])
def test_the_index_does_not_grow_with_the_number_of_rows(times: int) -> None:
    references = _references(_features(2000))
    window = _features(500, seed=2, shift=0.7)
    once = stability(window, references)
    often = stability(pd.concat([window] * times), references)
    assert often == pytest.approx(once)
    assert once["rain"] > 0.25


def test_only_what_moved_has_drifted() -> None:
    found = stability(_features(5000, seed=2, shift=2.0), _references(_features(5000)))
    assert {name for name, psi in found.items() if psi > 0.1} == {"rain"}


def test_the_index_of_a_category_is_the_formulas_value() -> None:
    reference = {"city": Reference(shares={"BER": 0.5, "MUC": 0.5})}
    window = pd.DataFrame({"city": np.array(["BER"] * 8 + ["MUC"] * 2, dtype=object)})
    expected = (0.8 - 0.5) * np.log(0.8 / 0.5) + (0.2 - 0.5) * np.log(0.2 / 0.5)
    assert stability(window, reference)["city"] == pytest.approx(expected)


def test_a_new_category_and_missing_values_are_drift() -> None:
    references = _references(_features(1000))
    window = _features(1000, seed=1).assign(city="ZRH", rain=np.nan)
    found = stability(window, references)
    assert found["city"] > 1
    assert found["rain"] > 1


def test_usual_is_the_largest_index_of_any_block_against_the_rest_of_the_training() -> None:
    features = _features(2800)
    days = _days(len(features), days=28)
    week = ((days - days.min()) // timedelta(days=7)).to_numpy()
    features.loc[week == 2, "rain"] += 5
    references = describe(_table(features, days), timedelta(days=7))

    edges = references["rain"].edges
    assert edges is not None
    bins = np.where(features["rain"].isna(), -1, np.searchsorted(edges, features["rain"]))
    shares = [
        np.maximum([np.mean(bins[mask] == number) for number in range(-1, len(edges) + 1)], 1e-4)
        for mask in (week == 2, week != 2)
    ]
    by_hand = np.sum((shares[0] - shares[1]) * np.log(shares[0] / shares[1]))
    assert references["rain"].usual == pytest.approx(by_hand)
    assert references["city"].usual < 0.2
    assert references["stops"].usual < 0.1 < references["rain"].usual


def test_a_reference_survives_the_way_through_json() -> None:
    for reference in _references(_features(500)).values():
        assert Reference.model_validate(reference.model_dump(mode="json")) == reference
