from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pendulum
import pytest
from airflow.timetables.interval import CronDataIntervalTimetable
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.data.partitions import Calendar
from include.lifecycle.errors import Rejected

ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Havana",
)
calendars = st.builds(Calendar, st.sampled_from(["hour", "day", "week", "month"]), st.sampled_from(ZONES))
moments = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(moments, calendars)
def test_a_partitions_name_reads_back_as_itself(moment: datetime, calendar: Calendar) -> None:
    partition = calendar.holding(moment)
    assert calendar.named(partition.name) == partition


@given(moments, calendars)
def test_every_moment_lies_in_its_partition(moment: datetime, calendar: Calendar) -> None:
    partition = calendar.holding(moment)
    assert partition.start <= moment < partition.end


@given(moments, calendars)
def test_a_partition_ends_where_the_next_begins(moment: datetime, calendar: Calendar) -> None:
    partition = calendar.holding(moment)
    assert calendar.holding(partition.end).start == partition.end
    assert calendar.before(calendar.holding(partition.end), 1) == [partition]


@given(moments, moments, calendars)
def test_names_sort_as_their_starts_do(one: datetime, other: datetime, calendar: Calendar) -> None:
    partitions = sorted([calendar.holding(one), calendar.holding(other)])
    names = [partition.name for partition in partitions]
    assert names == sorted(names)


@pytest.mark.parametrize("grain", ["hour", "day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Europe/Berlin"])
def test_airflows_schedule_cuts_time_where_the_partitions_do(grain: str, zone: str) -> None:
    calendar = Calendar(grain, zone)  # type: ignore[arg-type]
    timetable = CronDataIntervalTimetable(calendar.cron, timezone=zone)
    moment = datetime(2024, 2, 20, tzinfo=UTC)
    for _ in range(60):
        partition = calendar.holding(moment)
        run = timetable.infer_manual_data_interval(run_after=pendulum.instance(partition.end))
        assert (run.start, run.end) == (partition.start, partition.end)
        moment = partition.end


def test_the_days_of_the_clock_change_have_23_and_25_hours() -> None:
    calendar = Calendar("day", "America/New_York")
    spring, autumn = calendar.named("2013-03-10"), calendar.named("2013-11-03")
    assert spring.start == datetime(2013, 3, 10, 5, tzinfo=UTC)
    assert spring.end - spring.start == timedelta(hours=23)
    assert autumn.end - autumn.start == timedelta(hours=25)


def test_both_hours_of_the_autumn_night_lie_in_their_day_and_are_two_hours() -> None:
    first = datetime(2013, 11, 3, 1, 30, tzinfo=ZoneInfo("America/New_York"))
    second = first.replace(fold=1)
    day, hour = Calendar("day", "America/New_York"), Calendar("hour", "America/New_York")
    assert day.holding(first) == day.holding(second)
    assert [hour.holding(moment).name for moment in (first, second)] == ["2013-11-03T05", "2013-11-03T06"]


def test_a_moment_elsewhere_belongs_to_the_partition_of_utc() -> None:
    tokyo = datetime(2024, 3, 1, 8, 0, tzinfo=timezone(timedelta(hours=9)))
    assert Calendar("day").holding(tokyo).name == "2024-02-29"


def test_weeks_are_those_of_iso_8601() -> None:
    week = Calendar("week").holding(datetime(2024, 12, 31, tzinfo=UTC))
    assert (week.name, week.start) == ("2025-W01", datetime(2024, 12, 30, tzinfo=UTC))


def test_the_partitions_before_come_oldest_first() -> None:
    calendar = Calendar("month")
    before = calendar.before(calendar.named("2024-02"), 3)
    assert [partition.name for partition in before] == ["2023-11", "2023-12", "2024-01"]


@pytest.mark.parametrize(
    ("name", "grain"),
    [
        ("2024-02-30", "day"),
        ("2024-02", "day"),
        ("2024-2-1", "day"),
        ("2024-02-01", "month"),
        ("2024-W54", "week"),
        ("", "hour"),
        ("../x", "day"),
    ],
)
def test_what_is_no_name_is_rejected_with_an_example(name: str, grain: str) -> None:
    with pytest.raises(Rejected, match="is written like 2013-"):
        Calendar(grain).named(name)  # type: ignore[arg-type]
