"""The whole loop with steps as pods; and whatever dies meanwhile, work is done exactly when its receipt
proves it.

PERENNIAL_FAULTS says how many faults (default 30), PERENNIAL_SEED which ones. At night:
`PERENNIAL_FAULTS=300 python -m pytest -n0 -s -m faults tests/docker/test_faults.py` prints table and seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import timedelta

import pytest

from include.demo.replay import DAGS
from include.lifecycle.data.publishing import published_table
from tests.docker.cluster import Cluster
from tests.system.fault_campaign import Campaign, Outcome
from tests.system.faults import require_commands
from tests.system.restarting import restarting_airflow
from tests.system.world import FIRST_DAY, FIRST_LIVE_DAY, Nodes, World, running_world

pytestmark = [pytest.mark.stack, pytest.mark.faults]
_SOONER = {"TASK_INSTANCE_HEARTBEAT_TIMEOUT": 60, "ORPHANED_TASKS_CHECK_INTERVAL": 20}
"""Seconds after which Airflow misses a task or a scheduler; by default five minutes."""
EARLIEST = FIRST_DAY + timedelta(days=7)
"""Each day is three pods; two weeks are enough for a first version."""
FAULTS = int(os.environ.get("PERENNIAL_FAULTS") or 30)


@pytest.fixture(scope="module")
def world(cluster: Cluster, image: str, pod_endpoint: str) -> Iterator[World]:
    """A system whose steps run as pods, and whose Airflow comes back when a part of it dies."""
    with pytest.MonkeyPatch.context() as env:
        for name, seconds in _SOONER.items():
            env.setenv(f"AIRFLOW__SCHEDULER__{name}", str(seconds))
        with running_world(Nodes(cluster, image, pod_endpoint), restarting_airflow) as running:
            yield running


def test_with_steps_as_pods_the_demo_reaches_its_second_champion(world: World) -> None:
    world.airflow.wait_for_dags(DAGS)
    world.replay.history(EARLIEST, FIRST_LIVE_DAY)
    day = FIRST_LIVE_DAY
    while not world.replay.live(day):
        day += timedelta(days=1)
        assert day < FIRST_LIVE_DAY + timedelta(days=5), "no retraining in five days"

    champion = world.replay.state().champion
    assert champion is not None
    assert champion.version == "2"
    partitions = published_table("flights", world.store).partitions()
    assert len(partitions) == (day - EARLIEST).days + 1


@pytest.fixture(scope="module")
def outcome(world: World, cluster: Cluster) -> Outcome:
    """What became of the work of a campaign; its table is shown where a test fails, or with `-s`."""
    require_commands()
    seed = int(os.environ.get("PERENNIAL_SEED") or random.SystemRandom().randrange(10**6))
    campaign = Campaign(world, cluster, FAULTS, seed)
    found = campaign.run()
    campaign.show(found)
    return found


def test_nothing_passes_for_done_without_its_receipt(outcome: Outcome) -> None:
    assert outcome.false_successes == []


def test_nothing_is_done_twice(outcome: Outcome) -> None:
    assert outcome.duplicate_versions == []


def test_no_pod_is_left_over(outcome: Outcome) -> None:
    assert outcome.orphan_pods == []


def test_every_run_that_was_asked_for_ends_well(outcome: Outcome) -> None:
    assert outcome.lost_runs == []


def test_the_champion_is_whom_a_release_named(outcome: Outcome) -> None:
    assert outcome.wrong_champions == []


def test_every_partition_holds_the_rows_that_were_delivered(outcome: Outcome) -> None:
    assert outcome.wrong_rows == []
