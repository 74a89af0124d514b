"""Whatever dies while versions are released: users are answered, by whom the ledger says.

PERENNIAL_RELEASE_FAULTS says how many faults (default 15), PERENNIAL_SEED which ones. At night:
`PERENNIAL_RELEASE_FAULTS=300 python -m pytest -n0 -s -m faults tests/system/release_faults` prints table and
seed. The S3 server is harmed where AWS_ENDPOINT_URL, PERENNIAL_STORE_FAULT and PERENNIAL_STORE_UP name one;
elsewhere the store is a folder.
"""

from __future__ import annotations

import json
import os
import random
import uuid
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from include.lifecycle.release.reconcile import publish
from include.lifecycle.store.objects import Store
from tests.lifecycle import tiny
from tests.lifecycle.conftest import PUBLISHED_DAYS, TRAINED_ON_DAY
from tests.lifecycle.steps.test_evaluate import served_inputs
from tests.lifecycle.tiny import MODEL, Project, midnight
from tests.system.release_faults.callers import Callers
from tests.system.release_faults.campaign import Campaign
from tests.system.release_faults.candidates import UNKNOWN_CITY, Candidates
from tests.system.release_faults.clock import Clock, clock_library
from tests.system.release_faults.faults import Faults
from tests.system.release_faults.looks import Looks
from tests.system.release_faults.processes import MLflow, Servers
from tests.system.release_faults.runs import Runs
from tests.system.release_faults.tasks import SERVERS
from tests.system.release_faults.verdict import Outcome

pytestmark = [pytest.mark.stack, pytest.mark.faults]
FAULTS = int(os.environ.get("PERENNIAL_RELEASE_FAULTS") or 15)
POLICY = """
release:
  shadow: {duration: 1s, rows: 5}
  canary: {shares: [0.3, 0.6], duration: 1s, requests: 50}
  slice_by: city
  tolerance: {slow: 1}
"""
"""Quick rungs, of which the first asks for little, so that the judge stops some versions only after users met
them, and the last for as much as makes it certain of a version that fails on every second request. Slowness
tells nothing where processes are killed all around."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A tiny project on S3 where there is one, with rows published."""
    root = tmp_path_factory.mktemp("releases") / "project"
    on_s3 = {"AWS_ENDPOINT_URL", "PERENNIAL_STORE_FAULT", "PERENNIAL_STORE_UP"} <= os.environ.keys()
    store = Store(f"s3://lake/releases-{uuid.uuid4().hex[:8]}" if on_s3 else f"{root}/store")
    with pytest.MonkeyPatch.context() as env:
        project = tiny.make_project(root, env, store)
        project.add("models/late.yaml", POLICY)
        project.edit("models/late.yaml", "  - {metric: brier, worse_by_at_most: 0.05}\n", "")
        tiny.put_days(project, 1, PUBLISHED_DAYS)
        env.setenv("AIRFLOW_HOME", str(root / "airflow"))
        env.setenv("AIRFLOW_CONN_PERENNIAL_STORE", '{"conn_type": "aws"}')
        yield project


@pytest.fixture(scope="module")
def outcome(world: Project) -> Outcome:
    """What became of it all; its table is shown where a test fails, or with `-s`."""
    seed = int(os.environ.get("PERENNIAL_SEED") or random.SystemRandom().randrange(10**6))
    draw, root = random.Random(seed + 1), world.root
    candidates = Candidates(world, tiny.train_as_of(world, midnight(TRAINED_ON_DAY)), draw)
    candidates.crown_first()
    publish(MODEL, world.store)
    library = clock_library(root)
    with pytest.MonkeyPatch.context() as env, Servers(root / "servers", world.store, library) as servers:
        _connect(env, "perennial_server", SERVERS, servers.port)
        with MLflow(root / "mlflow", versions=20 + 4 * FAULTS) as mlflow:
            _connect(env, "perennial_mlflow", "127.0.0.1", mlflow.port)
            runs = Runs(root / "runs", Clock(root / "workers.clock", library))
            with Looks(servers, world) as looks, Callers(looks, rows(), seed) as callers:
                faults = Faults(world, looks, mlflow, runs, candidates, draw)
                campaign = Campaign(world, looks, callers, mlflow, runs, candidates, faults, FAULTS, seed)
                found = campaign.run()
        campaign.show(found)
        return found


def rows() -> list[dict[str, Any]]:
    """What callers ask: a day's trips, one in two of them from a city that nobody knew."""
    trips = [
        json.loads(pd.Series(row).drop("trip_id").to_json(date_format="iso")) for row in served_inputs(23)
    ]
    return [row | ({"city": UNKNOWN_CITY} if number % 2 == 0 else {}) for number, row in enumerate(trips)]


def _connect(env: pytest.MonkeyPatch, name: str, host: str, port: int) -> None:
    connection = {"conn_type": "http", "host": host, "port": port}
    env.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))


def test_every_request_is_answered(outcome: Outcome) -> None:
    assert outcome.unanswered == []


def test_servers_and_document_never_name_another_champion_than_the_ledger(outcome: Outcome) -> None:
    assert outcome.two_champions == []


def test_a_version_answers_nobody_after_its_abort_was_acknowledged(outcome: Outcome) -> None:
    assert outcome.answers_after_an_acknowledged_abort == []


def test_a_rejected_version_answers_nobody(outcome: Outcome) -> None:
    assert outcome.answers_of_rejected_versions == []


def test_whoever_answers_was_allowed_to_by_a_decision_in_force(outcome: Outcome) -> None:
    assert outcome.answers_that_no_decision_allows == []


def test_nobody_becomes_champion_past_a_rung_or_before_its_time(outcome: Outcome) -> None:
    assert outcome.rungs_passed_over == []
    assert outcome.rungs_cut_short == []


def test_the_ledger_verifies(outcome: Outcome) -> None:
    assert outcome.ledger == []


def test_document_servers_and_registry_agree_with_the_ledger_when_all_is_quiet(outcome: Outcome) -> None:
    assert outcome.different_when_quiet == []
