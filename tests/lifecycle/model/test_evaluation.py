import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from include.lifecycle.model.evaluation import Evaluation, evaluate
from include.lifecycle.spec.value import canonical_json


def _gate(count: int = 200, seed: int = 1, days: int = 8) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 2, count).astype(float)
    return pd.DataFrame(
        {
            "_key": [str(number) for number in range(count)],
            "_event_time": pd.Timestamp("2024-01-01", tz="UTC")
            + pd.to_timedelta(draw.integers(0, days * 24, count), unit="h"),
            "_label": label,
            "score": np.clip(0.5 + 0.3 * (label - 0.5) + draw.normal(0, 0.2, count), 0.01, 0.99),
        }
    )


def test_metrics_are_those_of_scikit_learn() -> None:
    gate = _gate()
    found = evaluate(gate, None, None, seed=1, draws=40).candidate
    label, score = gate["_label"], gate["score"]
    assert found["brier"].value == pytest.approx(brier_score_loss(label, score))
    assert found["log_loss"].value == pytest.approx(log_loss(label, score))
    assert found["auc"].value == pytest.approx(roc_auc_score(label, score))


@given(seed=st.integers(0, 1000))
@settings(max_examples=5)
def test_a_value_lies_in_its_interval_and_a_seed_fixes_it(seed: int) -> None:
    gate = _gate(seed=seed)
    found = evaluate(gate, None, None, seed=seed, draws=20)
    assert found == evaluate(gate, None, None, seed=seed, draws=20)
    for estimate in found.candidate.values():
        assert estimate.low <= estimate.high
        assert estimate.low - 0.05 <= estimate.value <= estimate.high + 0.05


def test_an_interval_is_wider_where_days_differ_than_rows_alone_would_make_it() -> None:
    """Rows of one day share their error: with few days the interval must not shrink with the rows."""
    gate = _gate(count=2000, days=4)
    day = gate["_event_time"].dt.day
    gate["score"] = np.where(day % 2 == 0, 0.5, gate["_label"] * 0.9 + 0.05)
    brier = evaluate(gate, None, None, seed=1, draws=100).candidate["brier"]
    alone = ((gate["score"] - gate["_label"]) ** 2).std() / np.sqrt(len(gate))
    assert brier.high - brier.low > 40 * alone


def test_the_champion_is_compared_only_where_it_has_a_prediction() -> None:
    gate = _gate()
    champion = gate["score"].where(gate["_event_time"] < "2024-01-05")
    found = evaluate(gate, champion, "4", seed=1, draws=40)
    assert found.compared_with == "4"
    assert found.compared_rows == champion.notna().sum()
    assert found.rows == len(gate)
    assert {metric: loss.value for metric, loss in found.loss.items()} == dict.fromkeys(found.loss, 0.0)


def test_a_loss_is_positive_where_the_candidate_is_worse_whatever_the_metrics_direction() -> None:
    gate = _gate()
    better = (gate["score"] + gate["_label"]) / 2
    loss = evaluate(gate, better, "4", seed=1, draws=40).loss
    assert all(estimate.low > 0 for estimate in loss.values())
    mirrored = evaluate(gate.assign(score=better), gate["score"], "4", seed=1, draws=40).loss
    assert all(estimate.high < 0 for estimate in mirrored.values())


def test_without_a_champion_nothing_is_compared() -> None:
    found = evaluate(_gate(), None, None, seed=1, draws=40)
    assert found.compared_with is None
    assert found.loss == {}


@pytest.mark.parametrize("only", [None, 1.0])
def test_where_a_comparison_is_impossible_the_reason_is_kept(only: float | None) -> None:
    gate = _gate()
    champion = gate["score"].where(gate["_label"] == only)
    found = evaluate(gate, champion, "4", seed=1, draws=40)
    assert found.loss == {}
    assert "version 4 predicted" in (found.why_not_compared or "")


def test_an_evaluation_of_equal_labels_can_be_kept_as_json() -> None:
    found = evaluate(_gate().assign(_label=0.0), None, None, seed=1, draws=40)
    document = found.model_dump(mode="json")
    canonical_json(document)
    assert Evaluation.model_validate(document).candidate["brier"] == found.candidate["brier"]
    assert "auc" not in found.candidate
