"""Which published partitions does a span of time mean?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.errors import Transient
from include.lifecycle.spec.dataset import DatasetSpec


@dataclass(frozen=True)
class Span:
    """The partitions that end after one moment and by another; None leaves a side open."""

    after: datetime | None = None
    by: datetime | None = None

    def holds(self, end: datetime) -> bool:
        """Whether a partition with that end is meant."""
        return (self.after is None or end > self.after) and (self.by is None or end <= self.by)

    def __str__(self) -> str:
        after = f"after {self.after:%Y-%m-%d %H:%M}" if self.after else ""
        by = f"by {self.by:%Y-%m-%d %H:%M}" if self.by else ""
        return " and ".join(side for side in (after, by) if side) + " UTC"


def partitions_within(dataset: DatasetSpec, published: Collection[str], span: Span | None) -> list[str]:
    """The published partitions of a span (None: the newest one), oldest first."""
    names = sorted(published)
    if span is None:
        return names[-1:]
    calendar = calendar_of(dataset)
    return [name for name in names if span.holds(calendar.named(name).end)]


def require_published(dataset: DatasetSpec, published: Collection[str], span: Span) -> None:
    """Raise Transient when a partition ended in a span and nothing as new as that is published."""
    if span.by is None:
        return
    calendar, newest = calendar_of(dataset), max(published)
    due = calendar.holding(span.by).start
    if span.holds(due) and calendar.named(newest).end < due:
        raise Transient(
            f"{dataset.name} is published until {newest} only, and what ended by {due:%Y-%m-%d %H:%M} UTC is "
            f"asked for: waiting for {dataset.name}.ingest"
        )
