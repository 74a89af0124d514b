"""A search in MLflow itself, on SQLite in a folder."""

from __future__ import annotations

from collections.abc import Iterator

import mlflow
import pytest
from mlflow.entities import Run

from include.lifecycle.errors import Transient
from include.lifecycle.model.search_runs import LoggedTrial, SearchRuns
from include.lifecycle.model.study import Outcome
from tests.lifecycle.tiny import midnight

TRIALS = [
    LoggedTrial(
        run_key="a" * 64,
        parameters={"max_depth": 3, "booster": "dart"},
        outcome=Outcome(state="complete", value=0.2, trees=12, intermediate={5: 0.3, 10: 0.25}),
        started=midnight(1),
        ended=midnight(2),
    ),
    LoggedTrial(
        run_key="b" * 64,
        parameters={"max_depth": 8, "booster": "dart"},
        outcome=Outcome(state="pruned", trees=5, intermediate={5: 0.9}),
        started=midnight(1),
        ended=midnight(2),
    ),
    LoggedTrial(run_key="c" * 64, parameters={"max_depth": 5}, outcome=Outcome(state="failed")),
]
KEY = "f" * 64


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def runs(uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SearchRuns]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield SearchRuns(uri)
    mlflow.set_tracking_uri(before)


def logged(uri: str, experiment: str) -> dict[str, Run]:
    """The runs of an experiment by name; each name once."""
    found = mlflow.MlflowClient(uri).search_runs([experiment])
    assert len({run.info.run_name for run in found}) == len(found)
    return {str(run.info.run_name): run for run in found}


def test_trials_are_runs_nested_in_that_of_their_search(runs: SearchRuns, uri: str) -> None:
    search = runs.log_search("late", KEY, "brier", TRIALS, TRIALS[0], {"as_of": "2024-01-22"})
    found = logged(uri, search.experiment_id)
    parent = found.pop("search ffffffffffff")
    assert parent.info.run_id == search.run_id
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["run_key"] == KEY
    assert parent.data.tags["winner"] == "a" * 64
    assert parent.data.tags["parameters"] == '{"booster":"dart","max_depth":3}'
    assert parent.data.metrics["stop_brier"] == 0.2

    assert [run.info.status for _, run in sorted(found.items())] == ["FINISHED", "KILLED", "FAILED"]
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {search.run_id}
    assert [run.data.tags["run_key"][0] for _, run in sorted(found.items())] == ["a", "b", "c"]
    best = found["trial 0"]
    assert best.data.params == {"max_depth": "3", "booster": "dart"}
    assert best.data.metrics == {"stop_brier": 0.2, "trees": 12, "brier_so_far": 0.25}
    assert best.info.end_time - best.info.start_time == 24 * 3600 * 1000
    steps = mlflow.MlflowClient(uri).get_metric_history(best.info.run_id, "brier_so_far")
    assert [(item.step, item.value) for item in steps] == [(5, 0.3), (10, 0.25)]
    assert "stop_brier" not in found["trial 1"].data.metrics


def test_a_search_is_logged_once_and_a_trial_that_was_mended_since_is_mended_there(
    runs: SearchRuns, uri: str
) -> None:
    first = runs.log_search("again", KEY, "brier", TRIALS[1:], TRIALS[1], {})
    before = logged(uri, first.experiment_id)
    mended = TRIALS[2].model_copy(update={"outcome": Outcome(state="complete", value=0.1, trees=3)})
    again = runs.log_search("again", KEY, "brier", [TRIALS[1], mended], mended, {})
    after = logged(uri, first.experiment_id)
    assert again == first
    assert {name: run.info.run_id for name, run in after.items()} == {
        name: run.info.run_id for name, run in before.items()
    }
    assert after["trial 0"].to_dictionary() == before["trial 0"].to_dictionary()
    assert (before["trial 1"].info.status, after["trial 1"].info.status) == ("FAILED", "FINISHED")
    assert after["trial 1"].data.metrics["stop_brier"] == 0.1
    assert after["search ffffffffffff"].data.tags["winner"] == mended.run_key


def test_a_trial_of_two_searches_is_nested_in_both(runs: SearchRuns, uri: str) -> None:
    one = runs.log_search("twice", KEY, "brier", TRIALS[:1], TRIALS[0], {})
    other = runs.log_search("twice", "e" * 64, "brier", TRIALS[:1], TRIALS[0], {})
    found = mlflow.MlflowClient(uri).search_runs([one.experiment_id], f"tags.run_key = '{'a' * 64}'")
    assert {run.data.tags["mlflow.parentRunId"] for run in found} == {one.run_id, other.run_id}


def test_an_mlflow_that_does_not_answer_is_transient(
    runs: SearchRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    with pytest.raises(Transient, match="start it or wait"):
        SearchRuns("http://127.0.0.1:9").log_search("late", KEY, "brier", TRIALS, TRIALS[0], {})
