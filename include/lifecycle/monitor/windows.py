"""One monitoring period: what was served, how it drifted, how good it was, and whether that is bad."""

from __future__ import annotations

from include.lifecycle.model.evaluation import Estimate
from include.lifecycle.release.state import WindowVerdict
from include.lifecycle.spec.model import Metric, Monitoring
from include.lifecycle.spec.quantities import Instant
from include.lifecycle.spec.value import Value


class Window(Value):
    """What was measured in one window."""

    start: Instant
    end: Instant
    version: str
    rows: int
    """Predictions of events in the window."""
    drift: dict[str, float] = {}
    """Population stability index by feature."""
    usual_drift: dict[str, float] = {}
    """The largest index that spans of this length show inside the training set."""
    labelled: int = 0
    """Predictions whose label became known in the window."""
    performance: dict[Metric, Estimate] = {}
    promised: dict[Metric, Estimate] = {}
    """What the gate measured for that version."""


def judge_window(window: Window, policy: Monitoring) -> WindowVerdict:
    """Bad when enough features drifted, or when the metric is worse than the gate promised."""
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
    if len(drifted) < policy.drift.features or window.rows < policy.min_rows:
        return None
    worst = sorted(drifted, key=lambda name: bounds[name] - drifted[name])[:3]
    return "drift in " + ", ".join(
        f"{name} (PSI {drifted[name]:.2f}, in training at most {bounds[name]:.2f})" for name in worst
    )


def _performance(window: Window, policy: Monitoring) -> str | None:
    bound = policy.performance
    if bound is None or window.labelled < policy.min_rows or bound.metric not in window.performance:
        return None
    found, promised = window.performance[bound.metric].value, window.promised[bound.metric].value
    loss = promised - found if bound.metric == "auc" else found - promised
    if loss <= bound.worse_by:
        return None
    return f"{bound.metric} {found:.4f}, the gate promised {promised:.4f}"
