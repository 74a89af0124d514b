"""The gates: checks that a version must pass, each with value, bound, interval and verdict."""

from __future__ import annotations

from collections.abc import Sequence

from include.lifecycle.model.evaluation import Estimate, Evaluation
from include.lifecycle.spec.model import Gate
from include.lifecycle.spec.value import Value


class GateResult(Value):
    """What one gate said."""

    gate: str
    passed: bool
    why: str


class Verdict(Value):
    """Whether a version may go on, and why."""

    passed: bool
    why: str
    results: tuple[GateResult, ...] = ()


def judge(evaluation: Evaluation, gates: Sequence[Gate]) -> Verdict:
    """Every gate must pass; a comparison passes when there is no champion to compare with."""
    results = tuple(result for gate in gates for result in _check(evaluation, gate))
    failed = [result for result in results if not result.passed]
    if failed:
        return Verdict(passed=False, why="; ".join(result.why for result in failed), results=results)
    return Verdict(
        passed=True, why="; ".join(result.why for result in results) or "no gates", results=results
    )


def _check(evaluation: Evaluation, gate: Gate) -> list[GateResult]:
    results = []
    value = evaluation.candidate.get(gate.metric)
    if value is None:
        why = f"{gate.metric} is not defined on these {evaluation.rows} rows"
        return [GateResult(gate=gate.metric, passed=False, why=why)]
    if gate.at_least is not None:
        results.append(_bound(gate, value, ">=", gate.at_least, value.value >= gate.at_least))
    if gate.at_most is not None:
        results.append(_bound(gate, value, "<=", gate.at_most, value.value <= gate.at_most))
    if gate.worse_by_at_most is not None:
        results.append(_comparison(evaluation, gate, gate.worse_by_at_most))
    return results


def _bound(gate: Gate, value: Estimate, sign: str, bound: float, passed: bool) -> GateResult:
    why = f"{gate.metric} {value.value:.4f} {'' if passed else 'not '}{sign} {bound:g}"
    return GateResult(gate=f"{gate.metric} {sign} {bound:g}", passed=passed, why=why)


def _comparison(evaluation: Evaluation, gate: Gate, tolerance: float) -> GateResult:
    name = f"{gate.metric} worse by <= {tolerance:g}"
    if evaluation.compared_with is None:
        return GateResult(gate=name, passed=True, why="no champion to compare with")
    if evaluation.why_not_compared is not None:
        return GateResult(gate=name, passed=False, why=evaluation.why_not_compared)
    loss = evaluation.loss[gate.metric]
    why = (
        f"{gate.metric} {'better' if loss.value <= 0 else 'worse'} than version "
        f"{evaluation.compared_with} by {abs(loss.value):.4f} (loss {_text(loss)}, "
        f"{evaluation.compared_rows} rows; {'no ' if loss.low <= tolerance else ''}harm beyond {tolerance:g})"
    )
    return GateResult(gate=name, passed=loss.low <= tolerance, why=why)


def _text(value: Estimate) -> str:
    return f"{value.value:+.4f} [{value.low:+.4f}, {value.high:+.4f}]"
