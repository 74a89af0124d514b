"""Versions that ask to be released, by a few packages: trained once, each asks under many run keys."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from include.lifecycle.release.decisions import propose, record
from include.lifecycle.store.receipts import Call, Receipt, write_receipt
from tests.lifecycle import tiny
from tests.lifecycle.tiny import ACTOR, FEATURES, Project

UNKNOWN_CITY = "XXX"
"""Where some callers are, and no row of the training was."""
KINDS: dict[str, bytes] = {
    "healthy": FEATURES,
    "fails on some callers": FEATURES.replace(
        b"    return {", f'    assert "{UNKNOWN_CITY}" not in rows["city"], "odd"\n    return {{'.encode()
    ),
    "answers otherwise": FEATURES.replace(
        b'"distance": rows["distance"]', b'"distance": 1000 - rows["distance"]'
    ),
    "does not load": b"def features(rows):\n    raise RuntimeError('no')\n",
    "is too old": FEATURES,
}
"""What the feature code of each kind of candidate is; the last two are rejected before any request."""
_OFTEN = (8, 3, 3, 1, 1)


@dataclass
class Candidates:
    """Asks for the release of one version after the other, each newer than all before it."""

    world: Project
    trained: Receipt
    draw: random.Random
    kinds: dict[str, str] = field(default_factory=dict)
    """By version."""

    def draw_kind(self) -> str:
        """Any kind; healthy ones are the most common."""
        (kind,) = self.draw.choices(list(KINDS), _OFTEN)
        return kind

    def propose(self, kind: str) -> str:
        """Write the training's receipt and the proposal; returns the version.

        One that the store had no answer to is left out, if it was not proposed all the same.
        """
        version = str(len(self.kinds) + 1)
        self.kinds[version] = kind
        proposal = tiny.proposal_of(self._trained_as(kind, int(version)), version)
        record(self.world.ledger, propose(proposal, kind), ACTOR)
        return version

    def crown_first(self) -> None:
        """Make a healthy version the first champion."""
        tiny.crown(self.world, self._trained_as("healthy", 1), "1")
        self.kinds["1"] = "healthy"

    def counted(self) -> Counter[str]:
        """How many there were of each kind."""
        return Counter(self.kinds.values())

    def _trained_as(self, kind: str, number: int) -> Receipt:
        store, call = self.world.store, self.trained.call
        later = -timedelta(days=1) if kind == "is too old" else timedelta(minutes=number)
        told = {**call.model_dump(), "as_of": call.as_of + later, "seed": call.seed + number}
        outputs = {**self.trained.outputs, "features.py": store.keep(KINDS[kind])}
        mine = {"call": Call.model_validate(told), "outputs": outputs}
        return write_receipt(self.trained.model_copy(update=mine), store)
