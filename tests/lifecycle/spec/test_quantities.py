from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.spec.quantities import check_cron, format_duration, parse_duration, utc

seconds = st.integers(0, 10**11).map(lambda number: timedelta(seconds=number))


@given(seconds)
def test_a_written_duration_reads_back_as_itself(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_mistake(text: str) -> None:
    with suppress(ValueError):
        assert parse_duration(text) >= timedelta(0)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("2 h", timedelta(hours=2)),
        ("1d 12h", timedelta(hours=36)),
        ("1w", timedelta(days=7)),
    ],
)
def test_durations_are_a_number_and_a_unit(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["", "d", "3", "3 days", "-1d", "1.5h", "1d,2h", "1d x", 7, None, "9" * 12 + "d"]
)
def test_anything_else_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="15m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0 2 * * *", "*/5 * * * 1-5"])
def test_five_fields_are_a_cron_expression(text: str) -> None:
    assert check_cron(text) == text


@pytest.mark.parametrize("text", ["", "0 2 * *", "61 * * * *", "@daily", "0 2 * * * *", "at two"])
def test_other_cron_expressions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="five fields"):
        check_cron(text)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)), st.integers(-720, 840))
def test_an_instant_stays_the_same_instant_in_utc(moment: datetime, minutes: int) -> None:
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert utc(moment) == moment
    assert utc(moment).tzinfo is UTC


def test_a_moment_without_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="2024-01-01T00:00:00Z"):
        utc(datetime(2024, 1, 1))


def test_a_moment_outside_the_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="calendar"):
        utc(datetime.fromisoformat("0001-01-01T00:00:00+10:00"))
