"""A version in a real server of its own; the log that is asked again was written by a real one, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from include.lifecycle.errors import Transient
from include.lifecycle.model.packaging import fetch_package, package_of
from include.lifecycle.model.predictor import Predictor
from include.lifecycle.release.document import Release, write_release
from include.lifecycle.release.reconcile import release_document
from include.lifecycle.release.staging import SAME, verdict
from include.lifecycle.release.state import Measured
from include.lifecycle.spec.release import ReleasePolicy
from include.lifecycle.steps.releasing import stage_newest
from include.lifecycle.steps.staging import measure_apart
from include.lifecycle.store.receipts import Receipt
from include.serving.head import Target
from tests.lifecycle import tiny
from tests.lifecycle.serving_here import served_here
from tests.lifecycle.tiny import ACTOR, FEATURES, MODEL, Project, midnight
from tests.serving.answering_server import AnsweringServer
from tests.serving.running import wait_until

YESTERDAY = 21
"""Of the training as of the 22nd."""
INPUTS = ("city", "distance", "stops", "express", "at", "rain")


def _requests(day: int, count: int = 60) -> list[dict[str, object]]:
    rows = tiny.trips(day, count).assign(rain=0.5)[list(INPUTS)]
    records: list[dict[str, object]] = json.loads(rows.to_json(orient="records", date_format="iso"))
    return records


@pytest.fixture
def logged(world: Project) -> Project:
    """A world with a champion that answered requests of three days."""
    tiny.crown(world, tiny.train_as_of(world, midnight(20)), "1")
    write_release(release_document(MODEL, world.state(), world.store), world.store)
    server = AnsweringServer(world.root / "server", world.store)
    server.models.poll()
    for day in (YESTERDAY - 1, YESTERDAY, YESTERDAY + 1):
        body = json.dumps({"instances": _requests(day)}).encode()
        server.answering.reply(Target("invocations", MODEL), body, f"day{day}")
    assert not server.log.flush(30)
    server.close()
    return world


def _with_features(world: Project, trained: Receipt, code: bytes) -> Receipt:
    changed = {**trained.outputs, "features.py": world.store.keep(code)}
    return trained.model_copy(update={"outputs": changed})


def _predictor(world: Project, trained: Receipt, folder: Path) -> Predictor:
    folder.mkdir()
    return Predictor(fetch_package(trained, world.store, folder))


def _measure(world: Project, trained: Receipt, **told: object) -> Measured | str:
    return measure_apart(trained, tiny.proposal_of(trained, "2"), None, world.store, 500, **told)  # type: ignore[arg-type]


def test_yesterdays_requests_get_the_answers_of_a_batch_and_the_change_is_in_the_ledger(
    logged: Project, trained: Receipt, tmp_path: Path
) -> None:
    tiny.propose_version(logged, trained, "2")
    moved = stage_newest(logged.catalog.model(MODEL), logged.store, ACTOR, None)
    assert moved is not None
    assert moved.event == "staged"
    measured = logged.state().standings["2"].measured
    assert measured is not None
    assert measured.day == midnight(YESTERDAY).date()
    assert (measured.requests, measured.refused, measured.compared_with) == (60, 0, "1")
    assert measured.apart <= SAME
    rows = {name: [row[name] for row in _requests(YESTERDAY)] for name in INPUTS}
    champion = logged.state().champion
    assert champion is not None
    first = tiny.train_as_of(logged, midnight(20))
    change = np.abs(
        _predictor(logged, trained, tmp_path / "2").predict(rows)
        - _predictor(logged, first, tmp_path / "1").predict(rows)
    )
    assert measured.change == pytest.approx(change.mean(), abs=1e-6)
    assert measured.largest_change == pytest.approx(change.max(), abs=1e-6)
    assert "60 requests of 2024-01-21 asked again" in moved.why
    assert _servers(psutil.Process()) == []


def test_a_slow_and_fat_features_file_breaks_either_budget(world: Project, trained: Receipt) -> None:
    burden = b"import time\nballast, calls = np.ones(40_000_000), []\n\n\ndef features(rows):\n"
    burden += b"    calls.append(1)\n    time.sleep(0.03 if len(calls) % 20 == 0 else 0)\n"
    code = FEATURES.replace(b"def features(rows):\n", burden)
    measured = _measure(world, _with_features(world, trained, code))
    assert isinstance(measured, Measured)
    assert measured.day is None
    assert verdict(measured, ReleasePolicy()).passed
    for budget, why in (
        ({"p99_ms": 25}, "the budget is 25 ms"),
        ({"memory": "500Mi"}, "the budget is 500 MiB"),
    ):
        failed = verdict(measured, ReleasePolicy.model_validate({"staging": budget}))
        assert not failed.passed
        assert failed.why.endswith(why)


def test_a_version_that_its_server_does_not_load_is_rejected_with_the_servers_words(
    world: Project, trained: Receipt
) -> None:
    """Its example rows in a batch are answered: only a server sees what is wrong."""
    picky = FEATURES.replace(b"    return", b"    assert all(rows['city']), 'no city'\n    return")
    said = _measure(world, _with_features(world, trained, picky))
    assert isinstance(said, str)
    assert "version 2 answers no row: AssertionError('no city')" in said


def test_a_version_that_answers_no_batch_is_rejected_before_a_server_is_started(
    world: Project, trained: Receipt
) -> None:
    broken = b"def features(rows):\n    raise RuntimeError('no weather today')\n"
    said = _measure(world, _with_features(world, trained, broken), serve=None)
    assert said == "staging: no answer to a batch of rows: RuntimeError: no weather today"


def test_features_that_look_at_other_rows_are_found_out(logged: Project, trained: Receipt) -> None:
    code = FEATURES.replace(b'rows["distance"],', b'rows["distance"] - np.nanmean(rows["distance"]),')
    measured = _measure(logged, _with_features(logged, trained, code), serve=served_here)
    assert isinstance(measured, Measured)
    assert measured.apart > 0.01
    assert not verdict(measured, ReleasePolicy()).passed


def test_requests_that_lack_an_input_of_the_version_are_not_asked_again(
    logged: Project, trained: Receipt
) -> None:
    layout = json.loads(logged.store.read(trained.outputs["predictor.json"]))
    layout["inputs"]["wind"] = "number"
    example = [{**row, "wind": 1.0} for row in json.loads(logged.store.read(trained.outputs["example"]))]
    kept = {
        "predictor.json": logged.store.keep(json.dumps(layout).encode()),
        "example": logged.store.keep(json.dumps(example).encode()),
    }
    changed = trained.model_copy(update={"outputs": {**trained.outputs, **kept}})
    measured = _measure(logged, changed, serve=served_here)
    assert isinstance(measured, Measured)
    assert measured.day is None


def test_a_server_that_ends_by_itself_is_tried_again(
    world: Project, trained: Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(Transient, match=r"the version's server ended with 1 .*; try again"):
        _measure(world, trained)


HOLDER = """
import sys, time
from pathlib import Path
from include.lifecycle.release.document import Release
from include.lifecycle.steps.apart import served_apart

with served_apart("late", Release.model_validate_json(sys.argv[1]), Path(sys.argv[2])):
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(world: Project, trained: Receipt, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of staging."""
    package = tmp_path / "package"
    package.mkdir()
    fetch_package(trained, world.store, package)
    release = Release(version="2", run_key="r", as_of=trained.call.as_of, package=package_of(trained.outputs))
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, release.model_dump_json(), str(package)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_killed_in_the_middle_it_leaves_no_process(holder: subprocess.Popen[str]) -> None:
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    (server,) = _servers(psutil.Process(holder.pid))
    holder.kill()
    wait_until(lambda: _is_gone(server), "the server is gone")


def _is_gone(process: psutil.Process) -> bool:
    """In a container nobody may be there to collect it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def _servers(parent: psutil.Process) -> list[psutil.Process]:
    return [child for child in parent.children() if "include.serving" in child.cmdline()]
