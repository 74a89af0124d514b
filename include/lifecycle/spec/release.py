"""How a version comes to users: what it must show on the way, and who has to agree."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field, field_validator

from include.lifecycle.spec.quantities import Bytes, Duration
from include.lifecycle.spec.value import Value

Share = Annotated[float, Field(gt=0, le=1)]


class Staging(Value):
    """What a version may take in a server of its own, before requests of users reach it.

    What has no bound is measured and told all the same.
    """

    p99_ms: float | None = Field(default=None, gt=0)
    """99 of 100 requests of one row must be answered within this, as a caller on the same machine sees it."""
    memory: Bytes | None = None
    """The server's process may take this much (peak resident set), its libraries included."""
    requests: int = Field(default=200, ge=0)
    """At most this many of the newest logged day before the training's as-of are asked again."""


class Approval(Value):
    """Whose consent a version needs before users' requests reach it."""

    people: int = Field(default=0, ge=0, le=2)
    """How many different people must approve in Airflow; 0: nobody."""
    change: float = Field(default=0.0, ge=0, le=1)
    """Ask them only when the answers to the same rows differ from the champion's by this much in the mean."""
    profiles: tuple[str, ...] = ()
    """Ask them only where one of these profiles is set, such as `kubernetes`; everywhere when empty."""
    within: Duration = timedelta(days=1)
    """Who has not answered by then has said no."""


class Shadow(Value):
    """The candidate scores copies of live requests; users see none of its answers."""

    duration: Duration = timedelta(minutes=10)
    rows: int = Field(default=100, ge=0)
    """At least this many rows are compared, however long that takes."""


class Canary(Value):
    """The candidate answers a share of the requests, and then a greater one."""

    shares: tuple[Share, ...] = Field(default=(0.1, 0.5), min_length=1)
    """Of all requests, rung by rung."""
    duration: Duration = timedelta(minutes=10)
    """Of each rung."""
    requests: int = Field(default=100, ge=0)
    """At least this many are answered by the candidate on each rung, however long that takes."""

    @field_validator("shares")
    @classmethod
    def _rises(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if list(shares) != sorted(set(shares)):
            raise ValueError("each rung's share must be greater than the one before")
        return shares


class Tolerance(Value):
    """By how much the candidate may be worse than, or different from, the champion, and still go on.

    A retrained version answers a little differently: that is its purpose.
    """

    failed: float = Field(default=0.01, ge=0, le=1)
    """More of its requests failed, as a share."""
    slow: float = Field(default=0.05, ge=0, le=1)
    """More of its requests, or of their copies, took longer than `slower_than_ms`, as a share."""
    slower_than_ms: float = Field(default=50, gt=0)
    error: float = Field(default=0.05, ge=0, le=1)
    """Its squared error is higher in the mean (Brier score), where labels become known in time."""
    score: float = Field(default=0.1, ge=0, le=1)
    """Its mean answer differs."""
    difference: float = Field(default=0.1, ge=0, le=1)
    """Its answers to the same rows differ, in the mean."""
    slice: float = Field(default=0.15, ge=0, le=1)
    """Its answers to the rows of one slice are higher or lower, in the mean."""
    false_alarms: float = Field(default=0.05, gt=0, lt=1)
    """A version within these tolerances is stopped with at most this probability, however often it is
    looked at."""


class ReleasePolicy(Value):
    """The way of a version from its proposal to all users."""

    staging: Staging = Staging()
    approval: Approval = Approval()
    shadow: Shadow | None = None
    """Without it no requests are copied."""
    canary: Canary | None = None
    """Without it the version gets all requests at once."""
    slice_by: str | None = None
    """An input whose values are judged one by one, such as `origin`."""
    tolerance: Tolerance = Tolerance()
