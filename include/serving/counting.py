"""Counts, in this process, what requests came to that a champion and a candidate answered."""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from include.lifecycle.release.counts import Arm, Counts, Tally

PROCESS = uuid.uuid4().hex
"""Another for each start of the server."""
MISSING = "missing"
OTHER = "other"
_SLICES = 50
_LONGEST = 100

ArmName = Literal["champion", "candidate", "copies"]
Numbers = Sequence[float] | npt.NDArray[np.float64]


class Counting:
    """The counts of one champion and one candidate; several threads may use it at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arms: dict[ArmName, Arm] = {"champion": Arm(), "candidate": Arm(), "copies": Arm()}
        self._difference = Tally()
        self._slices: dict[str, Tally] = {}

    @property
    def counts(self) -> Counts:
        """All that was counted until now."""
        with self._lock:
            return Counts(**self._arms, difference=self._difference, slices=dict(self._slices))

    @property
    def difference(self) -> Tally:
        """By row that both scored, how far apart the scores were."""
        return self._difference

    @property
    def is_faultless(self) -> bool:
        """Whether the candidate has not failed until now."""
        with self._lock:
            return not (self._arms["candidate"].failed.total or self._arms["copies"].failed.total)

    def count(self, arm: ArmName, *, failed: bool, slow: bool, scores: Sequence[float] = ()) -> None:
        """Count one request, or one copy of a request, and the rows that were scored."""
        with self._lock:
            before = self._arms[arm]
            self._arms[arm] = Arm(
                failed=before.failed.with_value(failed),
                slow=before.slow.with_value(slow),
                score=with_values(before.score, scores),
            )

    def compare(
        self, champion: Sequence[float], candidate: Sequence[float], slices: Sequence[Any] | None
    ) -> None:
        """Count rows that both scored; `slices` has the value of each in the slice's column."""
        differences = np.subtract(candidate, champion)
        names = [_text(value) for value in slices or ()]
        with self._lock:
            self._difference = with_values(self._difference, np.abs(differences))
            for name, places in self._places(names).items():
                before = self._slices.get(name, Tally())
                self._slices[name] = with_values(before, (differences[places] + 1) / 2)

    def _places(self, names: Sequence[str]) -> dict[str, list[int]]:
        """The rows of each slice; callers may send any values, so that only the first ones get their own."""
        known, places = set(self._slices), defaultdict(list)
        for place, name in enumerate(names):
            if name not in known and len(known) < _SLICES:
                known.add(name)
            places[name if name in known else OTHER].append(place)
        return places


def with_values(tally: Tally, values: Numbers) -> Tally:
    """The tally with several numbers more: to the last bit what one `with_value` after the other gives."""
    if len(values) == 1:
        return tally.with_value(float(values[0]))
    totals = np.cumsum(np.concatenate(([tally.total], values)))
    counts = tally.count + np.arange(len(values))
    means = np.divide(totals[:-1], counts, out=np.full(len(values), 0.5), where=counts > 0)
    distances = np.asarray(values) - means
    variations = np.cumsum(np.concatenate(([tally.variation], distances * distances)))
    return Tally(count=tally.count + len(values), total=totals[-1].item(), variation=variations[-1].item())


def _text(value: Any) -> str:
    """The name of a value's slice."""
    return MISSING if value is None else str(value)[:_LONGEST]
