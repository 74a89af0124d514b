"""With which parameters is a model trained: its YAML's, or those that a search found?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from include.lifecycle.release.state import Searched
from include.lifecycle.spec.model import ModelSpec


def winner_for(model: ModelSpec, searched: Sequence[Searched], as_of: datetime) -> Searched | None:
    """What the newest search of the model's space found, of those that knew no more than `as_of`.

    None when the model's YAML has no `search`, or another space than was searched.
    """
    if model.search is None:
        return None
    space = model.search.space_hash
    known = [found for found in searched if found.space == space and found.as_of <= as_of]
    return max(reversed(known), key=lambda found: found.as_of, default=None)


def with_parameters(model: ModelSpec, winner: Searched | None) -> ModelSpec:
    """The model with the winner's parameters in the place of its YAML's."""
    if winner is None:
        return model
    parameters = {**model.training.parameters, **winner.parameters}
    training = model.training.model_copy(update={"parameters": parameters})
    return model.model_copy(update={"training": training})
