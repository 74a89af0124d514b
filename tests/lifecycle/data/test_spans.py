from datetime import UTC, datetime

import pytest

from include.lifecycle.data.spans import Span, partitions_within, require_published
from include.lifecycle.errors import Transient
from include.lifecycle.spec.dataset import DatasetSpec
from tests.lifecycle.tiny import Project

DAYS = ["2024-03-01", "2024-03-02", "2024-03-04"]


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2024, 3, day, hour, tzinfo=UTC)


@pytest.fixture
def trips(project: Project) -> DatasetSpec:
    return project.catalog.dataset("trips")


@pytest.mark.parametrize(
    ("span", "found"),
    [
        (None, DAYS[2:]),
        (Span(at(1), at(3)), DAYS[:2]),
        (Span(at(1, 6), at(2, 6)), DAYS[:1]),
        (Span(at(2), at(2, 23)), []),
        (Span(at(3), None), DAYS[2:]),
        (Span(None, at(4)), DAYS[:2]),
        (Span(at(3), at(4)), []),
    ],
)
def test_a_span_means_the_partitions_that_end_in_it(
    trips: DatasetSpec, span: Span | None, found: list[str]
) -> None:
    assert partitions_within(trips, reversed(DAYS), span) == found


def test_days_of_a_time_zone_end_at_its_midnight(trips: DatasetSpec) -> None:
    berlin = trips.model_copy(update={"timezone": "Europe/Berlin"})
    assert partitions_within(berlin, DAYS, Span(at(1), at(1, 23))) == DAYS[:1]
    assert partitions_within(berlin, DAYS, Span(at(1), at(1, 22))) == []


def test_what_ended_in_a_span_must_be_published_and_what_ended_before_or_has_not_ended_need_not(
    trips: DatasetSpec,
) -> None:
    require_published(trips, DAYS, Span(at(4), at(5)))
    require_published(trips, DAYS, Span(at(5), at(5, 23)))
    with pytest.raises(Transient, match=r"published until 2024-03-04 only.* ended by 2024-03-06 00:00 UTC"):
        require_published(trips, DAYS, Span(at(5), at(6, 7)))
    monthly = trips.model_copy(update={"partition": "month"})
    require_published(monthly, ["2024-01"], Span(at(14), at(15)))
    with pytest.raises(Transient, match="published until 2024-01 only"):
        require_published(monthly, ["2024-01"], Span(datetime(2024, 2, 29, tzinfo=UTC), at(1)))
