"""A timetable that ends schedules its last interval, and none after it."""

from datetime import date

import pendulum
import pytest
from airflow.sdk import DAG
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.timetables.base import DataInterval, TimeRestriction
from mlops.timetable import SpanTimetable

ALL = TimeRestriction(None, None, True)


def _days(timetable: SpanTimetable, restriction: TimeRestriction = ALL) -> list[str]:
    """When the intervals begin that it schedules, at most five."""
    last: DataInterval | None = None
    found: list[str] = []
    while len(found) < 5:
        run = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        if run is None:
            break
        last = run.data_interval
        assert last is not None
        found.append(f"{last.start:%m-%dT%H}")
    return found


@pytest.mark.parametrize(
    ("zone", "end", "begins"),
    [
        ("UTC", date(2013, 1, 3), ["01-01T00", "01-02T00", "01-03T00"]),
        ("Europe/Berlin", date(2013, 1, 2), ["12-31T23", "01-01T23"]),
        ("America/New_York", date(2013, 1, 2), ["01-01T05", "01-02T05"]),
        ("UTC", None, [f"01-0{day}T00" for day in range(1, 6)]),
    ],
)
def test_intervals_from_the_first_day_to_the_last_are_scheduled(
    zone: str, end: date | None, begins: list[str]
) -> None:
    assert _days(SpanTimetable("0 0 * * *", zone, date(2013, 1, 1), end)) == begins


def test_dates_that_are_asked_for_win_over_the_span() -> None:
    timetable = SpanTimetable("0 0 * * *", "UTC", date(2013, 1, 1), date(2013, 1, 3))
    asked = TimeRestriction(pendulum.datetime(2012, 12, 31), pendulum.datetime(2013, 1, 4), True)
    assert _days(timetable, asked) == ["12-31T00", "01-01T00", "01-02T00", "01-03T00", "01-04T00"]


def test_a_dag_that_ended_yesterday_still_gets_its_last_run_and_no_other() -> None:
    yesterday = pendulum.today("UTC").subtract(days=1)
    timetable = SpanTimetable("0 0 * * *", "UTC", date(2013, 1, 1), yesterday.date())
    unpaused = TimeRestriction(None, None, False)
    assert _days(timetable, unpaused) == [f"{yesterday:%m-%dT%H}"]


def test_before_it_starts_the_first_interval_is_the_next() -> None:
    start = pendulum.today("UTC").add(days=9)
    timetable = SpanTimetable("0 0 * * *", "UTC", start.date(), None)
    assert _days(timetable, TimeRestriction(None, None, False))[0] == f"{start:%m-%dT%H}"


@pytest.mark.parametrize("end", [None, date(2013, 12, 31)])
def test_the_scheduler_reads_it_by_the_plugin(end: date | None) -> None:
    dag = DAG("any", schedule=SpanTimetable("0 0 * * *", "Europe/Berlin", date(2013, 1, 1), end))
    written = encode_timetable(dag.timetable)
    read = decode_timetable(written)
    assert isinstance(read, SpanTimetable)
    assert encode_timetable(read) == written
    assert (read.start, read.end, read.periodic) == (date(2013, 1, 1), end, True)
    assert _days(read) == _days(SpanTimetable("0 0 * * *", "Europe/Berlin", date(2013, 1, 1), end))
