from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mlops.orphans import Workload, orphans
from mlops.waiting_task import WaitingTask, waited_for_by, waiting_task

from tests.docker.deferral import Task

NOW = datetime(2024, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TASK = WaitingTask(dag_id="late.train", run_id="manual__1", task_id="train")
WAITS = {TASK: "deferred"}
POD = Workload(kind="Pod", name="pod", run_key="a", created=NOW - 3 * HOUR, task=TASK)
UNPROVEN: dict[str, datetime | None] = {"a": None}


def _gone(*found: Workload, done: Any = UNPROVEN, states: Any = WAITS) -> dict[str, str]:
    return {item.workload.name: item.why for item in orphans(found, done, states, NOW)}


@pytest.mark.parametrize(
    "state", ["deferred", "running", "queued", "scheduled", "up_for_retry", "restarting", None]
)
def test_a_pod_stays_while_its_task_waits_or_will(state: str | None) -> None:
    assert _gone(POD, states={TASK: state}) == {}


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "upstream_failed", "removed"])
def test_a_pod_whose_task_ended_goes(state: str) -> None:
    assert _gone(POD, states={TASK: state}) == {
        "pod": f"nobody waits for it: late.train.train of manual__1 is {state}"
    }


def test_a_pod_whose_run_was_deleted_goes() -> None:
    assert _gone(POD, states={}) == {"pod": "nobody waits for it: late.train.train of manual__1 is gone"}


def test_a_pod_whose_call_has_its_receipt_goes_though_a_task_waits() -> None:
    assert _gone(POD, done={"a": NOW - HOUR}) == {
        "pod": "its call has its receipt since 2024-03-10 11:00 UTC"
    }
    assert _gone(POD, done={"a": NOW - timedelta(minutes=1)}) == {}, "it is about to end"


def test_of_two_pods_of_a_call_the_older_stays() -> None:
    second = replace(POD, name="second", created=NOW - HOUR)
    assert _gone(second, POD) == {"second": "pod runs the same call"}
    assert _gone(second, replace(POD, run_key="b"), done={"a": None, "b": None}) == {}
    assert _gone(second, replace(POD, ended=NOW)) == {}, "the first one has ended"


def test_a_second_pod_stays_when_it_is_the_first_that_nobody_waits_for() -> None:
    other = WaitingTask(dag_id="late.train", run_id="manual__2", task_id="train")
    second = replace(POD, name="second", created=NOW - HOUR, task=other)
    assert list(_gone(POD, second, states={TASK: "failed", other: "deferred"})) == ["pod"]


def test_of_two_pods_that_began_in_one_second_the_one_that_a_task_waits_for_stays() -> None:
    assert list(_gone(POD, replace(POD, name="another", task=None))) == ["another"]


def test_what_has_ended_stays_an_hour_and_longer_while_its_task_looks_at_it() -> None:
    ended = replace(POD, ended=NOW - 2 * HOUR)
    assert _gone(ended, states={TASK: "success"}) == {"pod": "ended at 2024-03-10 10:00 UTC"}
    assert _gone(ended) == {}
    assert _gone(replace(ended, ended=NOW - HOUR / 2), states={}) == {}


def test_a_pod_of_another_store_is_left_alone() -> None:
    assert _gone(POD, done={"b": None}, states={}) == {}


def test_a_pod_that_does_not_say_who_waits_for_it_ends_by_its_deadline() -> None:
    assert _gone(replace(POD, task=None)) == {}
    assert _gone(replace(POD, task=None, ended=NOW - 2 * HOUR)) == {"pod": "ended at 2024-03-10 10:00 UTC"}


def test_what_is_deleted_already_and_what_goes_with_its_job_is_left_alone() -> None:
    assert _gone(replace(POD, is_going=True), replace(POD, is_owned=True), states={}) == {}


def test_a_job_goes_as_a_pod_does_and_its_service_when_nothing_is_left_to_serve() -> None:
    job = replace(POD, kind="Job", name="job")
    worker = replace(POD, name="worker", is_owned=True, task=None)
    service = replace(POD, kind="Service", name="service", task=None)
    assert _gone(service, job, worker) == {}
    assert list(_gone(service, job, states={})) == ["job", "service"]
    assert list(_gone(service, job, worker, states={})) == ["job"]
    assert _gone(service) == {"service": "no pod and no Job of its call is left"}
    assert _gone(replace(service, created=NOW)) == {}, "its Job may come yet"


def test_a_pod_says_which_task_waits_for_it() -> None:
    assert waiting_task(waited_for_by(Task("train", dag_id="late.train", run_id="manual__1"))) == TASK
    mapped = waiting_task(waited_for_by(Task("trial", run_id="manual__1", map_index=3)))
    assert str(mapped) == "late.train.trial[3] of manual__1"
    assert waiting_task(None) is None
    assert waiting_task({"perennial/task": "?"}) is None
