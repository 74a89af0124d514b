"""Requests to two versions, one row each, and what servers would have counted of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from include.lifecycle.release.counts import Arm, Counts, Tally

Array = npt.NDArray[Any]
PER_SECOND, SHARE, LOOK_SECONDS = 50, 0.1, 10


class Stream:
    """Numbers of some of the requests, tallied as they come."""

    def __init__(self, values: Array, counted: Array) -> None:
        """`counted` says of which requests there is a number."""
        numbers = np.asarray(values, dtype=np.float64)[counted]
        self._places = np.flatnonzero(counted)
        self._totals = np.concatenate([[0.0], np.cumsum(numbers)])
        before = np.concatenate([[0.5], self._totals[1:-1] / np.arange(1, len(numbers))])[: len(numbers)]
        self._variations = np.concatenate([[0.0], np.cumsum((numbers - before) ** 2)])

    def first(self, requests: int) -> Tally:
        """The tally after so many requests."""
        count = int(np.searchsorted(self._places, requests))
        return Tally(count=count, total=float(self._totals[count]), variation=float(self._variations[count]))


@dataclass(frozen=True)
class Requests:
    """Requests in their order, all arrays as long as there are requests."""

    champion: Array
    """The champion's scores; NaN where it fails."""
    candidate: Array
    """The candidate's scores; NaN where it fails."""
    slices: Array
    """The slice of each."""
    to_candidate: Array
    """Whether the candidate answered, and the champion scored the copy."""
    slow: Array
    """Whether the answer took longer than the policy's bound."""
    slow_copies: Array
    """Whether the candidate took longer than that for the copy."""

    def after(self, seconds: float) -> Counts:
        """What was counted until then."""
        number = int(seconds * PER_SECOND)
        streams = self._streams
        arms = {
            name: Arm(**{part: streams[name, part].first(number) for part in Arm.model_fields})
            for name in ("champion", "candidate", "copies")
        }
        slices = {value: stream.first(number) for (kind, value), stream in streams.items() if kind == "slice"}
        return Counts(
            **arms,
            difference=streams["difference", ""].first(number),
            slices={value: tally for value, tally in slices.items() if tally.count},
        )

    @cached_property
    def _streams(self) -> dict[tuple[str, str], Stream]:
        ours, theirs = self.to_candidate, ~self.to_candidate
        difference = self.candidate - self.champion
        both = ~np.isnan(difference)
        streams = {
            ("difference", ""): Stream(np.abs(difference), both),
            **{
                ("slice", str(value)): Stream((difference + 1) / 2, both & (self.slices == value))
                for value in np.unique(self.slices)
            },
        }
        arms = {
            "champion": (self.champion, theirs),
            "candidate": (self.candidate, ours),
            "copies": (self.candidate, theirs),
        }
        for name, (scores, counted) in arms.items():
            streams[name, "failed"] = Stream(np.isnan(scores), counted)
            slow = self.slow_copies if name == "copies" else self.slow
            streams[name, "slow"] = Stream(slow, counted)
            streams[name, "score"] = Stream(scores, counted & ~np.isnan(scores))
        return streams
