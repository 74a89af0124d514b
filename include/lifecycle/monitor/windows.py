"""One monitoring period: what was served, how it drifted, how good it was, and whether that is bad."""

from __future__ import annotations

from include.lifecycle.release.state import WindowVerdict
from include.lifecycle.spec.metrics import Metric
from include.lifecycle.spec.model import Monitoring
from include.lifecycle.spec.quantities import Instant
from include.lifecycle.spec.value import Value


class Window(Value):
    """What was measured in one window."""

    start: Instant
    end: Instant
    version: str
    rows: int = 0
    """Predictions of events in the window."""
    coverage: float = 0.0
    """Share of the window's length since the first of them."""
    growth: float = 0.0
    """Labelled rows known at its end that the version was not trained on, as a share of those it was."""
    drift: dict[str, float] = {}
    """Population stability index by feature."""
    usual_drift: dict[str, float] = {}
    """The largest index that spans of this length show inside the training set."""
    labelled: int = 0
    """Predictions whose label became known in the window."""
    metrics: dict[Metric, float] = {}
    skill: float | None = None
    """Brier skill score against the window's own share of positives."""
    bias: float | None = None
    """Mean prediction minus mean label, as a share of the training's mean label."""


FULL = 0.8
"""Coverage from which a window is compared with training spans of its length."""


def judge_window(window: Window, policy: Monitoring) -> WindowVerdict:
    """Bad when enough features drifted, or when predictions show no skill or are biased."""
    if window.rows < policy.min_rows and window.labelled < policy.min_rows:
        why = f"{window.rows} predictions, fewer than monitoring.min_rows {policy.min_rows}: not judged"
        return WindowVerdict(end=window.end, bad=False, why=why)
    reasons = [reason for reason in (_drift(window, policy), _performance(window, policy)) if reason]
    return WindowVerdict(end=window.end, bad=bool(reasons), why="; ".join(reasons) or "as trained")


def _drift(window: Window, policy: Monitoring) -> str | None:
    bounds = {
        name: max(policy.drift.floor, policy.drift.times * window.usual_drift.get(name, 0.0))
        for name in window.drift
    }
    drifted = {name: psi for name, psi in window.drift.items() if psi > bounds[name]}
    if len(drifted) < policy.drift.features or window.coverage < FULL:
        return None
    worst = sorted(drifted, key=lambda name: bounds[name] - drifted[name])[:3]
    return "drift in " + ", ".join(
        f"{name} (PSI {drifted[name]:.2f}, in training at most {bounds[name]:.2f})" for name in worst
    )


def _performance(window: Window, policy: Monitoring) -> str | None:
    if window.labelled < policy.min_rows or window.skill is None or window.bias is None:
        return None
    if window.skill < policy.performance.min_skill:
        return f"Brier skill {window.skill:.3f}, below {policy.performance.min_skill:g}"
    if abs(window.bias) > policy.performance.max_bias:
        return f"predictions are {abs(window.bias):.0%} too {'high' if window.bias > 0 else 'low'}"
    return None
