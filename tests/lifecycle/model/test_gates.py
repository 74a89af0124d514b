import pytest

from include.lifecycle.model.evaluation import Estimate, Evaluation
from include.lifecycle.model.gates import judge
from include.lifecycle.spec.model import Gate


def _estimate(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value=value, low=value if low is None else low, high=value if high is None else high)


def _evaluation(brier: float = 0.1, auc: float = 0.7, **changes: object) -> Evaluation:
    candidate = {"brier": _estimate(brier), "auc": _estimate(auc)}
    return Evaluation.model_validate({"rows": 50, "candidate": candidate, **changes})


def _compared(value: float, low: float, high: float) -> Evaluation:
    loss = {"brier": _estimate(value, low, high)}
    return _evaluation(compared_with="4", compared_rows=40, champion={"brier": _estimate(0.1)}, loss=loss)


@pytest.mark.parametrize(
    ("gate", "evaluation", "passed"),
    [
        (Gate(metric="auc", at_least=0.7), _evaluation(auc=0.7), True),
        (Gate(metric="auc", at_least=0.7), _evaluation(auc=0.699), False),
        (Gate(metric="brier", at_most=0.1), _evaluation(brier=0.1), True),
        (Gate(metric="brier", at_most=0.1), _evaluation(brier=0.101), False),
        (Gate(metric="brier", at_most=0.2, at_least=0.15), _evaluation(brier=0.1), False),
        (Gate(metric="brier", worse_by_at_most=0.0), _evaluation(), True),
        (Gate(metric="brier", worse_by_at_most=0.01), _compared(-0.02, -0.03, -0.01), True),
        (Gate(metric="brier", worse_by_at_most=0.01), _compared(0.03, 0.005, 0.05), True),
        (Gate(metric="brier", worse_by_at_most=0.01), _compared(0.03, 0.01, 0.05), True),
        (Gate(metric="brier", worse_by_at_most=0.01), _compared(0.03, 0.0101, 0.05), False),
        (
            Gate(metric="brier", worse_by_at_most=0.01),
            _evaluation(compared_with="4", why_not_compared="nothing to compare on"),
            False,
        ),
    ],
)
def test_a_gate_passes_within_its_bounds(gate: Gate, evaluation: Evaluation, passed: bool) -> None:
    verdict = judge(evaluation, [gate])
    assert verdict.passed == passed
    assert verdict.why


def test_without_gates_everything_passes() -> None:
    assert judge(_evaluation(), []).passed


def test_every_gate_must_pass_and_the_reason_names_those_that_do_not() -> None:
    gates = [Gate(metric="auc", at_least=0.9), Gate(metric="brier", at_most=0.5)]
    verdict = judge(_evaluation(), gates)
    assert not verdict.passed
    assert [result.passed for result in verdict.results] == [False, True]
    assert "auc" in verdict.why
    assert "brier" not in verdict.why


def test_a_comparison_says_with_whom_on_how_many_rows_and_by_how_much() -> None:
    why = judge(_compared(0.03, 0.02, 0.05), [Gate(metric="brier", worse_by_at_most=0.01)]).why
    assert "worse than version 4 by 0.0300" in why
    assert "40 rows" in why


def test_a_metric_that_cannot_be_computed_fails_its_gate_and_says_so() -> None:
    evaluation = Evaluation(rows=3, candidate={"brier": _estimate(0.1)})
    verdict = judge(evaluation, [Gate(metric="auc", at_least=0.6)])
    assert not verdict.passed
    assert "auc" in verdict.why
