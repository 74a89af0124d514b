"""May a version be staged, by what it showed in a server of its own?"""

from __future__ import annotations

from include.lifecycle.model.gates import Verdict
from include.lifecycle.release.state import Measured
from include.lifecycle.spec.release import ReleasePolicy

SAME = 1e-6
"""Answers this close are equal: one row and a batch may be summed up in another order."""


def verdict(measured: Measured, policy: ReleasePolicy) -> Verdict:
    """Passed when its answers are those of a batch, and it kept the policy's tolerance and budget."""
    broken = "; ".join(_broken(measured, policy))
    return Verdict(passed=not broken, why=f"staging: {broken or told(measured)}")


def told(measured: Measured) -> str:
    """What was measured, in a sentence."""
    asked = f"{measured.requests} requests"
    asked += f" of {measured.day} asked again" if measured.day else " with its example rows"
    parts = [
        f"{asked}, {measured.refused} without an answer, the others equal to a batch's",
        _compared(measured) if measured.day else "no requests logged yet that can be asked again",
        f"p99 {measured.p99_ms:.1f} ms, {_size(measured.memory)}, ready in {measured.seconds:.1f} s",
    ]
    return "; ".join(parts)


def _broken(measured: Measured, policy: ReleasePolicy) -> list[str]:
    budget, broken = policy.staging, []
    if measured.apart > SAME:
        broken.append(
            f"its answers differ by up to {measured.apart:.2g} from those to the same rows in one batch: let "
            "the features compute each row by itself"
        )
    if (share := measured.refused / measured.requests) > policy.tolerance.failed:
        broken.append(
            f"{measured.refused} of {measured.requests} requests got no answer ({share:.1%}), and "
            f"tolerance.failed is {policy.tolerance.failed:.1%}"
        )
    if budget.p99_ms is not None and measured.p99_ms > budget.p99_ms:
        broken.append(f"p99 {measured.p99_ms:.1f} ms, and the budget is {budget.p99_ms:g} ms")
    if budget.memory is not None and measured.memory > budget.memory:
        broken.append(f"{_size(measured.memory)} of memory, and the budget is {_size(budget.memory)}")
    return broken


def _compared(measured: Measured) -> str:
    if measured.change is None or measured.largest_change is None:
        return "none of them answered by the champion"
    return (
        f"version {measured.compared_with} answered {measured.compared} of them, {measured.change:.3f} apart "
        f"in the mean and {measured.largest_change:.3f} at most"
    )


def _size(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
