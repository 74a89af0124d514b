"""Which rungs does a version climb on live requests, and which one is next?"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from include.lifecycle.release.counts import Counts
from include.lifecycle.release.state import IN_TRAFFIC, Standing
from include.lifecycle.spec.release import ReleasePolicy
from include.lifecycle.spec.value import Value


class Rung(Value):
    """Some time on live requests, and what it must have seen."""

    stage: Literal["shadow", "canary"]
    share: float = 0
    """Of the requests that the candidate answers."""
    duration: timedelta
    enough: int
    """Rows that both scored in shadow, requests that the candidate answered on this rung and those before."""

    def is_of(self, standing: Standing) -> bool:
        """Whether a version that stands there is on this rung."""
        return (self.stage, self.share) == (standing.stage, standing.share)

    def seen(self, counts: Counts) -> int:
        """How many of these there were."""
        return counts.difference.count if self.stage == "shadow" else counts.candidate.failed.count

    def data(self, policy: ReleasePolicy) -> dict[str, Any]:
        """What the ledger keeps of it, for the servers."""
        share = {"share": self.share} if self.stage == "canary" else {}
        slow = policy.tolerance.slower_than_ms / 1000
        return {**share, "slow_seconds": slow, "slice_by": policy.slice_by}


def rungs(policy: ReleasePolicy) -> list[Rung]:
    """All rungs of a policy, from shadow to the greatest share; none when it asks for neither."""
    found = []
    if (shadow := policy.shadow) is not None:
        found.append(Rung(stage="shadow", duration=shadow.duration, enough=shadow.rows))
    if (canary := policy.canary) is not None:
        found += [
            Rung(stage="canary", share=share, duration=canary.duration, enough=number * canary.requests)
            for number, share in enumerate(canary.shares, start=1)
        ]
    return found


def rung_of(policy: ReleasePolicy, standing: Standing) -> Rung | None:
    """The rung that a version is on; None below the first, and where the YAML has it no more."""
    return next((rung for rung in rungs(policy) if rung.is_of(standing)), None)


def next_rung(policy: ReleasePolicy, standing: Standing) -> Rung | None:
    """The first rung above where a version stands; None at the top.

    Whoever changed the YAML meanwhile is obeyed from the next rung on.
    """
    if standing.stage not in IN_TRAFFIC:
        return next(iter(rungs(policy)), None)
    return next((rung for rung in rungs(policy) if rung.share > standing.share), None)
