from datetime import timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from include.lifecycle.monitor.performance import (
    made_before_known,
    prediction_log,
    read_predictions,
    skill_and_bias,
)
from include.lifecycle.store.lake import PARTITION
from tests.lifecycle.tiny import MODEL, Project, midnight


def log_predictions(project: Project, rows: list[dict[str, Any]], number: int = 1) -> None:
    """Write predictions as the server does."""
    defaults = {"version": "1", "arm": "champion", "version_as_of": midnight(1), "score": 0.5}
    defaults |= {"inputs": "{}", "at": midnight(1)}
    table = pa.Table.from_pylist([{**defaults, PARTITION: "log", **row} for row in rows])
    prediction_log(MODEL, project.store).append_once(table, "server", number)


def _read(project: Project, first: int, last: int) -> pd.DataFrame:
    version = prediction_log(MODEL, project.store).version()
    return read_predictions(MODEL, version, project.store, start=midnight(first), end=midnight(last))


def test_without_a_log_there_are_no_predictions(project: Project) -> None:
    found = _read(project, 1, 9)
    assert found.empty
    assert "score" in found


def test_a_prediction_counts_in_the_window_of_its_event(project: Project) -> None:
    events = [midnight(2), midnight(3) - timedelta(microseconds=1), midnight(3)]
    log_predictions(
        project,
        [
            {"request_id": f"r{place}", "key": f"k{place}", "event_time": event}
            for place, event in enumerate(events)
        ],
    )
    assert _read(project, 2, 3)["key"].tolist() == ["k0", "k1"]


def test_of_one_request_logged_twice_the_first_answer_counts(project: Project) -> None:
    later = midnight(1) + timedelta(hours=1)
    for number, (score, at) in enumerate([(0.9, later), (0.1, midnight(1))], start=1):
        row = {"request_id": "r", "key": "k", "event_time": midnight(2), "score": score, "at": at}
        log_predictions(project, [row], number)
    assert _read(project, 2, 3)["score"].tolist() == [0.1]


@pytest.mark.parametrize(("late", "kept"), [(timedelta(0), ["a"]), (timedelta(microseconds=1), [])])
def test_a_prediction_by_a_version_that_could_have_seen_the_label_does_not_count(
    late: timedelta, kept: list[str]
) -> None:
    known_after = timedelta(days=1)
    predictions = pd.DataFrame(
        {
            "key": ["a"],
            "event_time": [pd.Timestamp(midnight(2))],
            "version_as_of": [pd.Timestamp(midnight(2) + known_after + late)],
        }
    )
    assert made_before_known(predictions, known_after)["key"].tolist() == kept


def test_of_one_key_the_newest_honest_version_counts() -> None:
    predictions = pd.DataFrame(
        {
            "key": ["a", "a", "a"],
            "event_time": [pd.Timestamp(midnight(5))] * 3,
            "version_as_of": [pd.Timestamp(midnight(day)) for day in (5, 3, 9)],
            "score": [0.5, 0.3, 0.9],
        }
    )
    assert made_before_known(predictions, timedelta(days=1))["score"].tolist() == [0.5]


def test_skill_is_the_gain_over_always_answering_the_mean() -> None:
    label = pd.Series([0.0, 0.0, 1.0, 1.0])
    assert skill_and_bias(label, label, 0.5) == (1.0, 0.0)
    assert skill_and_bias(label, pd.Series([0.5] * 4), 0.5) == (0.0, 0.0)
    skill, bias = skill_and_bias(label, pd.Series([0.9] * 4), 0.5)
    assert skill == pytest.approx(1 - 0.41 / 0.25)
    assert bias == pytest.approx(0.8)


def test_of_equal_labels_there_is_a_bias_but_no_skill() -> None:
    assert skill_and_bias(pd.Series([0.0, 0.0]), pd.Series([0.25, 0.25]), 0.5) == (None, 0.5)
