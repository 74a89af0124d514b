"""What a server has loaded of each model: the version that answers, and one that is compared with it."""

from __future__ import annotations

from dataclasses import dataclass

from include.lifecycle.model.predictor import Predictor
from include.lifecycle.release.document import Release, ReleaseDocument
from include.serving.counting import Counting
from include.serving.metrics import VersionMetrics
from include.serving.rows import Layout


@dataclass(frozen=True)
class Served:
    """A version that answers."""

    model: str
    release: Release
    predictor: Predictor
    layout: Layout
    metrics: VersionMetrics


@dataclass(frozen=True)
class Candidate:
    """A version that is compared with the champion on live requests."""

    served: Served
    share: float
    """Of requests that it answers; the others it scores as copies."""
    slow_seconds: float
    slice_by: str | None
    wanted: tuple[str, ...]
    """The columns that this version or the champion looks at."""
    counting: Counting

    @property
    def arm(self) -> str:
        """What its part in the release is called."""
        return "canary" if self.share else "shadow"


@dataclass(frozen=True)
class Followed:
    """A model with a release document, and how well this server follows it."""

    model: str
    served: Served | None = None
    """The champion."""
    candidate: Candidate | None = None
    seq: int | None = None
    """The ledger entry that is followed."""
    trouble: str | None = None
    """Why the newest document is not followed, or only its champion; what was served before goes on."""

    @property
    def versions(self) -> tuple[Served, ...]:
        """The versions that answer, the champion first."""
        candidate = self.candidate.served if self.candidate is not None else None
        return tuple(served for served in (self.served, candidate) if served is not None)

    @property
    def waits(self) -> bool:
        """Whether there is a champion that should answer and cannot."""
        return self.served is None and self.trouble is not None

    def arm_of(self, served: Served) -> str:
        """What the log calls the part of a version that is served."""
        return "champion" if served is self.served else "canary"

    def loaded(self, release: Release) -> Served | None:
        """A release that is loaded already."""
        return next((served for served in self.versions if served.release == release), None)


def candidate_of(document: ReleaseDocument, served: Served, champion: Served, before: Followed) -> Candidate:
    """A document's candidate beside its champion; the counts go on while both stay the same."""
    old = before.candidate
    same = old is not None and old.served is served and before.served is champion
    return Candidate(
        served=served,
        share=document.share,
        slow_seconds=document.slow_seconds,
        slice_by=document.slice_by,
        wanted=tuple(dict.fromkeys((*champion.layout.wanted, *served.layout.wanted))),
        counting=old.counting if old is not None and same else Counting(),
    )
