"""What the DAGs of a model tell others, and are woken by."""

from __future__ import annotations

from airflow.sdk import Asset

from include.lifecycle.spec.model import ModelSpec


def candidate(model: ModelSpec) -> Asset:
    """Wakes the release: a version was proposed."""
    return Asset(f"{model.name}.candidate", uri=f"perennial://model/{model.name}/candidate")


def drift(model: ModelSpec) -> Asset:
    """Wakes the training: the governor wants one."""
    return Asset(f"{model.name}.drift", uri=f"perennial://model/{model.name}/drift")


def searched(model: ModelSpec) -> Asset:
    """Wakes the training: a search found parameters."""
    return Asset(f"{model.name}.searched", uri=f"perennial://model/{model.name}/searched")


def scored(model: ModelSpec) -> Asset:
    """Says that rows were scored: the table of a model's scores has a new version."""
    return Asset(f"{model.name}.scores", uri=f"perennial://model/{model.name}/scores")
