"""What servers counted while they compared a candidate with the champion."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from include.lifecycle.spec.value import Value


class Tally(Value):
    """A stream of numbers between 0 and 1; tallies of several servers add up."""

    count: int = 0
    total: float = 0
    """Their sum."""
    variation: float = 0
    """Sum of the squared distances of each from the mean of those before it (of the first: from 1/2)."""

    @property
    def mean(self) -> float:
        """Their mean; 1/2 of none."""
        return self.total / self.count if self.count else 0.5

    def with_value(self, value: float) -> Tally:
        """The stream with one number more."""
        distance = value - self.mean
        return Tally(
            count=self.count + 1,
            total=self.total + value,
            variation=self.variation + distance * distance,
        )

    @classmethod
    def of(cls, values: Iterable[float]) -> Tally:
        """The stream of some numbers."""
        count, total, variation = 0, 0.0, 0.0
        for value in values:
            distance = value - (total / count if count else 0.5)
            count, total, variation = count + 1, total + value, variation + distance * distance
        return cls(count=count, total=total, variation=variation)

    def __add__(self, other: Tally) -> Tally:
        """Both streams together."""
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in Tally.model_fields})


class Arm(Value):
    """What requests that one version answered came to."""

    failed: Tally = Tally()
    """By request: 1 when the version could not answer."""
    slow: Tally = Tally()
    """By request: 1 when it took longer than the policy's bound."""
    score: Tally = Tally()
    """By row: the answer, a probability."""

    def __add__(self, other: Arm) -> Arm:
        """Both together."""
        return Arm(**{name: getattr(self, name) + getattr(other, name) for name in Arm.model_fields})


class Counts(Value):
    """Champion and candidate beside each other, over the requests since both are served."""

    champion: Arm = Arm()
    candidate: Arm = Arm()
    copies: Arm = Arm()
    """Copies of requests that the candidate scored off the way of the reply."""
    difference: Tally = Tally()
    """By row that both scored: how far apart the answers are, without sign."""
    slices: dict[str, Tally] = {}
    """By value of the slice's column, of the same rows: (candidate - champion + 1) / 2."""

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        names = sorted(self.slices.keys() | other.slices.keys())
        nothing = Tally()
        return Counts(
            champion=self.champion + other.champion,
            candidate=self.candidate + other.candidate,
            copies=self.copies + other.copies,
            difference=self.difference + other.difference,
            slices={name: self.slices.get(name, nothing) + other.slices.get(name, nothing) for name in names},
        )


class ServerCounts(Value):
    """What one process of a server counted; it begins with nothing whenever it starts again."""

    process: str = Field(min_length=1)
    """Random, one for each start."""
    model: str
    champion: str
    """The champion's version."""
    candidate: str
    """The candidate's version."""
    counts: Counts
