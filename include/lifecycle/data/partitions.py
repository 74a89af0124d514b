"""Which partition a moment belongs to, when it begins and ends, and what it is called."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from include.lifecycle.errors import Rejected

Grain = Literal["hour", "day", "month"]
_NAMES: dict[Grain, str] = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}
CRON: dict[Grain, str] = {"hour": "0 * * * *", "day": "0 0 * * *", "month": "0 0 1 * *"}


def start_of(moment: datetime, grain: Grain) -> datetime:
    """Start, in UTC, of the partition that a moment falls into."""
    start = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if grain == "hour":
        return start
    return start.replace(hour=0, day=1 if grain == "month" else start.day)


def end_of(start: datetime, grain: Grain) -> datetime:
    """End of the partition that starts at `start`; the next partition's start."""
    if grain == "month":
        return start_of(start + timedelta(days=31), "month")
    return start + (timedelta(hours=1) if grain == "hour" else timedelta(days=1))


def name_of(start: datetime, grain: Grain) -> str:
    """The partition's name, such as ``2013-01-31``; names sort as their starts do."""
    return start.strftime(_NAMES[grain])


def parse_name(name: str, grain: Grain) -> datetime:
    """Start of the partition with that name; raises Rejected when it is not a name."""
    try:
        return datetime.strptime(name, _NAMES[grain]).replace(tzinfo=UTC)
    except ValueError:
        example = name_of(datetime(2013, 1, 31, tzinfo=UTC), grain)
        raise Rejected(f"partition {name!r}: a {grain} is written like {example}") from None
