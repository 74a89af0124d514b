"""A candidate beside the champion on a real server under load: a good one climbs, a bad one is stopped."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from mlops.operators.canary import CanaryOperator
from mlops.operators.release import PromoteOperator
from mlops.triggers.canary import CanaryTrigger

from include.lifecycle.release.decisions import record
from include.lifecycle.release.moves import move
from include.lifecycle.release.reconcile import publish
from include.lifecycle.store.receipts import Call, Receipt, read_receipt, write_receipt
from tests.lifecycle import tiny
from tests.lifecycle.steps.test_climbing import log_answers
from tests.lifecycle.steps.test_watching import served_inputs
from tests.lifecycle.tiny import ACTOR, FEATURES, MODEL, Project, midnight
from tests.plugins.contexts import context_of
from tests.serving.running import RunningServer

POLICY = """
release:
  shadow: {duration: 1s, rows: 30}
  canary: {shares: [0.3, 0.6], duration: 1s, requests: 10}
  slice_by: city
  tolerance: {slower_than_ms: 5000}
"""
STAGED = {"version": "2", "event": "approved", "why": "good"}


@pytest.fixture
def server(
    world: Project, template: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningServer]:
    """A server of version 1, with a policy that takes seconds."""
    world.add("models/late.yaml", POLICY)
    tiny.crown(world, tiny.train_as_of(world, midnight(20)), "1")
    publish(MODEL, world.store)
    monkeypatch.setattr("mlops.triggers.canary._EVERY", 0.3)
    with RunningServer(world.root / "server", world.store.uri) as server:
        connection = {"conn_type": "http", "host": "127.0.0.1", "port": server.port}
        monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_SERVER", json.dumps(connection))
        yield server


def _approve(world: Project, trained: Receipt) -> None:
    tiny.propose_version(world, trained, "2")
    for stage in ("staged", "approved"):
        record(world.ledger, move("2", stage, "good"), ACTOR)


def _with_features(world: Project, trained: Receipt, features: bytes) -> Receipt:
    """The training with a package that is not what was trained."""
    outputs = {**trained.outputs, "features.py": world.store.keep(features)}
    call = Call.model_validate({**trained.call.model_dump(), "seed": trained.call.seed + 1})
    return write_receipt(trained.model_copy(update={"call": call, "outputs": outputs}), world.store)


@contextmanager
def _load(server: RunningServer) -> Iterator[list[str]]:
    """Callers one after the other; which version answered each."""
    rows = [
        json.loads(pd.Series(row).drop("trip_id").to_json(date_format="iso")) for row in served_inputs(23)
    ]
    answered: list[str] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url) as client:
            number = 0
            while not over.is_set():
                body = {"dataframe_records": [rows[number % len(rows)]]}
                reply = client.post("/invocations", json=body, headers={"X-Request-Id": f"caller-{number}"})
                reply.raise_for_status()
                answered.append(reply.json()["version"])
                number += 1
                time.sleep(0.01)

    caller = threading.Thread(target=ask)
    caller.start()
    try:
        yield answered
    finally:
        over.set()
        caller.join()


def _operator() -> CanaryOperator:
    return CanaryOperator(task_id="canary", model=MODEL, staged=STAGED)


def _climb(rungs: list[tuple[str, float]] | None = None) -> dict[str, Any]:
    """What the operator returns; each rung is waited for by a trigger made anew, as the triggerer does."""
    context = context_of(dag_id="late.release")
    run = lambda: _operator().execute(context)  # noqa: E731
    while True:
        try:
            found: dict[str, Any] = run()
        except TaskDeferred as deferred:
            event = asyncio.run(asyncio.wait_for(_event(deferred.trigger), 60))
            if rungs is not None:
                rungs.append((deferred.trigger.rung["stage"], deferred.trigger.rung["share"]))
            told = deferred.kwargs
            run = lambda event=event, told=told: _operator().resume(context, event=event, **told)  # noqa: E731
        else:
            return found


async def _event(trigger: CanaryTrigger) -> dict[str, Any]:
    _, arguments = trigger.serialize()
    async for event in CanaryTrigger(**json.loads(json.dumps(arguments))).run():
        found: dict[str, Any] = event.payload
        return found
    raise AssertionError("the trigger ended without an event")


def test_a_good_version_climbs_rung_by_rung_and_is_promoted(
    world: Project, template: tuple[Path, str], server: RunningServer
) -> None:
    _approve(world, read_receipt(template[1], world.store))
    rungs: list[tuple[str, float]] = []
    with _load(server) as answered:
        climbed = _climb(rungs)
    assert climbed["event"] == "climbed"
    assert rungs == [("shadow", 0), ("canary", 0.3), ("canary", 0.6)]
    assert set(answered) == {"1", "2"}
    promoted = PromoteOperator(task_id="promote", model=MODEL, climbed=climbed).execute(context_of())
    assert promoted["event"] == "promoted"


@pytest.mark.parametrize(
    ("features", "why"),
    [
        (FEATURES.replace(b'"distance": rows["distance"]', b'"distance": 1000 - rows["distance"]'), "differ"),
        (
            FEATURES.replace(b"    return {", b'    assert rows["distance"][0] < 300, "odd"\n    return {'),
            "failed requests",
        ),
    ],
)
def test_a_version_that_answers_otherwise_or_fails_is_stopped_in_shadow(
    world: Project, template: tuple[Path, str], server: RunningServer, features: bytes, why: str
) -> None:
    trained = read_receipt(template[1], world.store)
    _approve(world, _with_features(world, trained, features))
    with _load(server) as answered:
        aborted = _climb()
    assert aborted["event"] == "aborted"
    assert why in aborted["why"]
    assert set(answered) == {"1"}
    assert world.state().candidate is None
    with pytest.raises(AirflowSkipException, match="version 2 was aborted"):
        PromoteOperator(task_id="promote", model=MODEL, climbed=aborted).execute(context_of())


def test_a_version_that_no_server_can_load_is_stopped_with_what_the_server_says(
    world: Project, template: tuple[Path, str], server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops.triggers.canary._PATIENCE", 2)
    trained = read_receipt(template[1], world.store)
    _approve(world, _with_features(world, trained, b"def features(rows):\n    raise RuntimeError('no')\n"))
    aborted = _climb()
    assert aborted["event"] == "aborted"
    assert "version 2 answers no row" in aborted["why"]


def test_a_version_that_errs_is_stopped_before_the_next_rung_once_labels_say_so(
    world: Project, template: tuple[Path, str]
) -> None:
    world.add("models/late.yaml", POLICY)
    tiny.crown(world, tiny.train_as_of(world, midnight(20)), "1")
    _approve(world, read_receipt(template[1], world.store))
    with pytest.raises(TaskDeferred) as deferred:
        _operator().execute(context_of())
    log_answers(world, off=0.9)
    told = deferred.value.kwargs
    aborted = _operator().resume(context_of(), event={"stop": False, "why": "all seen"}, **told)
    assert aborted["event"] == "aborted"
    assert "its squared error is higher" in aborted["why"]
    assert world.state().candidate is None


def test_what_was_rejected_is_not_compared(world: Project) -> None:
    rejected = {"version": "2", "event": "rejected", "why": "auc 0.5 not >= 0.6"}
    with pytest.raises(AirflowSkipException, match="was rejected: auc"):
        CanaryOperator(task_id="canary", model=MODEL, staged=rejected).execute(context_of())
