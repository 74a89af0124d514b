"""Which partition a moment belongs to, when it begins and ends, and what it is called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec, Grain

_NAMES: dict[Grain, str] = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}
_CRON: dict[Grain, str] = {
    "hour": "0 * * * *",
    "day": "0 0 * * *",
    "week": "0 0 * * 1",
    "month": "0 0 1 * *",
}


@dataclass(frozen=True, order=True)
class Partition:
    """One partition: its name, such as ``2013-01-31``, and its bounds in UTC, the end excluded."""

    start: datetime
    end: datetime
    name: str


@dataclass(frozen=True)
class Calendar:
    """How a dataset's time is cut into partitions. Names sort as their starts do."""

    grain: Grain
    timezone: str = "UTC"

    @property
    def cron(self) -> str:
        """When a partition begins, as a cron expression in the calendar's time zone."""
        return _CRON[self.grain]

    def holding(self, moment: datetime) -> Partition:
        """The partition that a moment falls into."""
        local = moment.astimezone(self._zone).replace(minute=0, second=0, microsecond=0)
        if self.grain != "hour":
            local = local.replace(hour=0, fold=0)
        if self.grain == "week":
            local -= timedelta(days=local.weekday())
        if self.grain == "month":
            local = local.replace(day=1)
        return self._from(local)

    def named(self, name: str) -> Partition:
        """The partition of that name; raises Rejected when it is not a name."""
        form = _NAMES[self.grain]
        try:
            if self.grain == "week":
                name_, form = f"{name}-1", f"{form}-%u"
            else:
                name_ = name
            found = self._from(datetime.strptime(name_, form).replace(tzinfo=self._zone))
        except (ValueError, OverflowError):
            found = None
        if found is None or found.name != name:
            example = self.holding(datetime(2013, 1, 31, 12, tzinfo=UTC)).name
            raise Rejected(f"partition {name!r}: a {self.grain} is written like {example}")
        return found

    def before(self, partition: Partition, count: int) -> list[Partition]:
        """The partitions just before one, oldest first."""
        found: list[Partition] = []
        for _ in range(count):
            partition = self.holding(partition.start - timedelta(microseconds=1))
            found.insert(0, partition)
        return found

    @property
    def _zone(self) -> ZoneInfo:
        """Hours are those of UTC: a local hour comes twice in autumn."""
        return ZoneInfo("UTC" if self.grain == "hour" else self.timezone)

    def _from(self, start: datetime) -> Partition:
        """The partition that starts at a local moment; Python adds days by the wall clock, as people do."""
        if self.grain == "month":
            end = (start + timedelta(days=31)).replace(day=1)
        else:
            end = start + {"hour": timedelta(hours=1), "day": timedelta(days=1)}.get(
                self.grain, timedelta(weeks=1)
            )
        return Partition(start.astimezone(UTC), end.astimezone(UTC), start.strftime(_NAMES[self.grain]))


def calendar_of(spec: DatasetSpec) -> Calendar:
    """How a dataset is partitioned."""
    return Calendar(spec.partition, spec.timezone)
