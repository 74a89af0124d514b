import json
from datetime import timedelta

from include.lifecycle.monitor.requests import newest_requests
from include.lifecycle.store.lake import PARTITION
from tests.lifecycle.monitor.test_performance import log_predictions
from tests.lifecycle.tiny import MODEL, Project, midnight


def _log(project: Project, day: int, count: int, number: int) -> None:
    event = midnight(day) + timedelta(hours=5)
    rows = [
        {
            "request_id": f"{day}-{place}",
            "key": None,
            "event_time": event,
            "inputs": json.dumps({"place": place}),
            PARTITION: f"{event:%Y-%m-%d}",
        }
        for place in range(count)
    ]
    log_predictions(project, rows, number)


def _places(project: Project, day: int, count: int, seed: int = 0) -> list[int]:
    found = newest_requests(MODEL, project.store, midnight(day), count, seed)
    return [request.row["place"] for request in found]


def test_of_the_newest_day_before_a_moment_each_request_counts_once(project: Project) -> None:
    for number, day in enumerate((3, 5, 5, 8), start=1):
        _log(project, day, day, number)
    found = newest_requests(MODEL, project.store, midnight(8) + timedelta(hours=6), 100, 0)
    assert {request.day for request in found} == {midnight(5).date()}
    assert sorted(request.row["place"] for request in found) == [0, 1, 2, 3, 4]


def test_a_bounded_number_is_drawn_by_the_seed(project: Project) -> None:
    _log(project, 3, 40, 1)
    first = _places(project, 4, 10)
    assert len(set(first)) == 10
    assert _places(project, 4, 10) == first
    assert _places(project, 4, 10, seed=1) != first
    assert _places(project, 4, 0) == []


def test_without_a_log_or_a_day_before_there_are_none(project: Project) -> None:
    assert _places(project, 4, 10) == []
    _log(project, 4, 2, 1)
    assert _places(project, 4, 10) == []
