"""Durations, cron expressions and instants as people write them in YAML."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import available_timezones

from croniter import croniter
from pydantic import AfterValidator, BeforeValidator, ByteSize, PlainSerializer, WithJsonSchema

from include.lifecycle.spec.nearest import nearest

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(\d+)\s*([smhdw])")
_KUBERNETES_SIZE = re.compile(r"\s*[\d.]+\s*[KMGTP]i?\s*", re.IGNORECASE)


def parse_duration(text: Any) -> timedelta:
    """Turn ``"15m"`` or ``"1d 12h"`` into a timedelta; raise ValueError on anything else."""
    if isinstance(text, timedelta):
        return text
    parts = _DURATION.findall(str(text))
    if not parts or _DURATION.sub("", str(text)).strip():
        raise ValueError("a duration is a number and a unit, such as 90s, 15m, 2h, 1d or 1w")
    try:
        return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())
    except OverflowError:
        raise ValueError("a duration of at most 999999999d, such as 15m, 2h or 1d") from None


def format_duration(duration: timedelta) -> str:
    """The shortest text that :func:`parse_duration` reads back, such as ``"1d 12h"``."""
    seconds, parts = int(duration.total_seconds()), []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts) or "0s"


def check_cron(text: str) -> str:
    """Return a cron expression of five fields unchanged; raise ValueError on anything else."""
    if len(text.split()) != 5 or not croniter.is_valid(text):
        raise ValueError("a cron expression has five fields, such as '0 2 * * *' for 02:00 each day")
    return text


def parse_size(text: Any) -> Any:
    """Add the B that Kubernetes leaves out of a size, such as ``"16Gi"``."""
    return f"{text}B" if isinstance(text, str) and _KUBERNETES_SIZE.fullmatch(text) else text


def utc(moment: datetime) -> datetime:
    """The same instant in UTC, as a plain datetime; raise ValueError when there is none."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; write it as {moment.isoformat()}Z")
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{moment} lies outside the calendar in UTC") from None
    return datetime.combine(moment.date(), moment.time(), UTC)


def check_timezone(name: str) -> str:
    """Return the name of an IANA time zone unchanged; raise ValueError on anything else."""
    if name not in available_timezones():
        raise ValueError(f"a time zone is written like Europe/Berlin{nearest(name, available_timezones())}")
    return name


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+\s*[smhdw]\s*)+$", "examples": ["15m", "2h", "1d"]}),
]
Bytes = Annotated[
    ByteSize,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["512Mi", "16Gi", "4GiB"]}),
]
Cron = Annotated[
    str, AfterValidator(check_cron), WithJsonSchema({"type": "string", "examples": ["0 2 * * *"]})
]
Instant = Annotated[datetime, AfterValidator(utc)]
TimeZone = Annotated[str, AfterValidator(check_timezone)]
