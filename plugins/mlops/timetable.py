"""Which data intervals are scheduled: from a dataset's first partition to its last."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any, Self

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from pendulum import DateTime, instance


class SpanTimetable(CronDataIntervalTimetable):
    """Schedules the data intervals that begin from one day to another, both in its time zone.

    A DAG's own `start_date` and `end_date` would hold for its tasks too: of a run by hand that is dated
    before or after them, Airflow makes no task, and shows it as a success.
    """

    def __init__(self, cron: str, timezone: str, start: date, end: date | None) -> None:
        super().__init__(cron, timezone)
        self.start = start
        self.end = end

    def serialize(self) -> dict[str, Any]:
        """What `deserialize` needs, as JSON."""
        span = {"start": self.start.isoformat(), "end": self.end and self.end.isoformat()}
        return {**super().serialize(), **span}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """The timetable that was serialized."""
        start, end = (data[key] and date.fromisoformat(data[key]) for key in ("start", "end"))
        return cls(data["expression"], data["timezone"], start, end)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next run, or None after the last one. A backfill names its own dates, and gets those."""
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval,
            restriction=TimeRestriction(
                restriction.earliest or self._midnight(self.start),
                restriction.latest or (self._midnight(self.end) if self.end else None),
                restriction.catchup,
            ),
        )

    def _midnight(self, day: date) -> DateTime:
        return instance(datetime.combine(day, time(), self._timezone).astimezone(UTC))
