from datetime import UTC, datetime, timedelta, timezone

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.data.partitions import CRON, Grain, end_of, name_of, parse_name, start_of
from include.lifecycle.errors import Rejected

grains = st.sampled_from(["hour", "day", "month"])
moments = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(moments, grains)
def test_a_partitions_name_reads_back_as_its_start(moment: datetime, grain: Grain) -> None:
    start = start_of(moment, grain)
    assert parse_name(name_of(start, grain), grain) == start


@given(moments, grains)
def test_every_moment_lies_in_its_partition(moment: datetime, grain: Grain) -> None:
    start = start_of(moment, grain)
    assert start <= moment < end_of(start, grain)


@given(moments, grains)
def test_a_partition_ends_where_the_next_begins(moment: datetime, grain: Grain) -> None:
    end = end_of(start_of(moment, grain), grain)
    assert start_of(end, grain) == end
    assert start_of(end - timedelta(microseconds=1), grain) == start_of(moment, grain)


@given(moments, moments, grains)
def test_names_sort_as_their_starts_do(one: datetime, other: datetime, grain: Grain) -> None:
    starts = sorted([start_of(one, grain), start_of(other, grain)])
    names = [name_of(start, grain) for start in starts]
    assert names == sorted(names)


@given(moments, grains)
def test_airflows_schedule_cuts_time_where_the_partitions_do(moment: datetime, grain: Grain) -> None:
    assert croniter(CRON[grain], moment).get_next(datetime) == end_of(start_of(moment, grain), grain)


def test_a_moment_elsewhere_belongs_to_the_partition_of_utc() -> None:
    tokyo = datetime(2024, 3, 1, 8, 0, tzinfo=timezone(timedelta(hours=9)))
    assert name_of(start_of(tokyo, "day"), "day") == "2024-02-29"


@pytest.mark.parametrize(
    ("name", "grain"),
    [("2024-02-30", "day"), ("2024-02", "day"), ("2024-02-01", "month"), ("", "hour"), ("../x", "day")],
)
def test_what_is_no_name_is_rejected_with_an_example(name: str, grain: Grain) -> None:
    with pytest.raises(Rejected, match="is written like 2013-01"):
        parse_name(name, grain)
