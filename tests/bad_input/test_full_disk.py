"""No space left: what is half written is never read, and the retry after the cure finds its way."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from include.lifecycle.data.publishing import published_table
from include.lifecycle.errors import Transient
from include.lifecycle.release.decisions import Actor, Draft, record
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.steps import extract
from include.lifecycle.store.objects import Store, object_path
from include.lifecycle.store.receipts import read_receipt, write_call
from tests.bad_input import source, tasks
from tests.bad_input.project import Project, refused

CURE = "free space, then clear this task"


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond a size, as under a quota; the output of the test is not kept."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = [os.dup(1), os.dup(2)]
    with Path(os.devnull).open("w") as nowhere:
        for number in (1, 2):
            os.dup2(nowhere.fileno(), number)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def whole_objects(store: Store) -> bool:
    """Whether every object that can be read has the content that its name says."""
    from include.lifecycle.spec.value import sha256

    paths = store.list("objects/")
    return all(object_path(sha256(store.get(path) or b"")) == path for path in paths)


def test_a_step_without_scratch_space_says_so_and_its_retry_converges(
    project: Project, control: Project
) -> None:
    partition = source.day(10)
    project.deliver(partition, source.text_of(source.trips(partition, rows=600)))
    call = extract.plan(open_catalog().dataset("trips"), partition, project.store)
    write_call(call, project.store)

    def run(size: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "include.lifecycle.steps", "extract", call.run_key],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)),
            capture_output=True,
            text=True,
            check=False,
        )

    with project.unharmed():
        full = run(4_000)
        assert (full.returncode, full.stdout) == (75, "")
        assert full.stderr.startswith("Transient: no space left for ")
        assert CURE in full.stderr
        assert "Traceback" not in full.stderr
        assert whole_objects(project.store)
    cured = run(1 << 30)
    assert (cured.returncode, cured.stdout.strip()) == (0, call.run_key), cured.stderr
    assert read_receipt(call.run_key, project.store).counts == {"rows_in": 600, "suppressed": 0}
    project.deliver(partition)
    project.ingest_as(control, partition)


def test_an_audit_without_scratch_space_says_so_and_its_retry_converges(project: Project) -> None:
    """What was staged fits into the scratch folder; the bad rows as JSON do not."""
    partition = source.day(10)
    rows = pd.concat([source.trips(partition, rows=600)] * 40).sample(frac=1, random_state=1)
    rows = rows.assign(trip=range(len(rows)), refund="unknown")
    project.deliver(partition, source.text_of(rows))
    extracted = tasks.extract(partition)
    staged = read_receipt(extracted["run_key"], project.store).outputs["staged"]
    with project.unharmed(), refused(Transient, "validate: no space left in", CURE), room_for(staged.size):
        tasks.validate(extracted)
    receipt = read_receipt(tasks.validate(extracted)["run_key"], project.store)
    assert receipt.counts["quarantined"] == 24_000
    assert receipt.outputs["bad"].size > staged.size


@pytest.mark.parametrize("size", [100, 3_000, 6_000, 15_000])
def test_a_full_store_keeps_no_part_of_an_object(project: Project, size: int) -> None:
    partition = source.day(11)
    project.deliver(partition)
    extracted = tasks.extract(partition)
    with project.unharmed(), refused(Transient, "no space left", CURE), room_for(size):
        tasks.validate(extracted)
    assert whole_objects(project.store)


def test_after_a_full_store_the_retry_publishes_what_it_would_have(
    project: Project, control: Project
) -> None:
    partition = source.day(11)
    project.deliver(partition)
    validated = tasks.validate(tasks.extract(partition))
    for size in (100, 1_000, 2_000):
        with project.unharmed(), refused(Transient, "no space left", CURE), room_for(size):
            tasks.publish(validated)
    project.ingest_as(control, partition)


def test_a_full_disk_during_a_commit_leaves_the_table_as_it_was(project: Project, control: Project) -> None:
    partition = source.day(12)
    project.deliver(partition)
    receipt = read_receipt(tasks.validate(tasks.extract(partition))["run_key"], project.store)
    good = project.store.fetch(receipt.outputs["good"], project.home / "good.parquet")
    table = published_table("trips", project.store)
    for size in (10, 500, 2_000):
        with project.unharmed(), pytest.raises(Transient, match=f"table trips.*{CURE}"), room_for(size):
            table.publish(partition, receipt.outputs["good"].sha256, good, "run")
    project.ingest_as(control, partition)


def test_a_full_disk_leaves_the_ledger_whole(project: Project) -> None:
    draft = Draft(event="retrain", as_of=datetime(2024, 3, 9, tzinfo=UTC), why="a test")
    before = len(project.entries())
    for size in (0, 10, 200):
        with project.unharmed(), pytest.raises(Transient, match=CURE), room_for(size):
            record(project.ledger, lambda state: draft, Actor("ada", "full"))
    record(project.ledger, lambda state: draft, Actor("ada", "full"))
    assert len(project.entries()) == before + 1
    assert project.state().retrain == "a test"


def test_a_training_without_space_keeps_its_lease_and_its_retry_converges(
    project: Project, control: Project
) -> None:
    project.specify(seed=50)
    with refused(Transient, "no space left", CURE), room_for(2_500):
        tasks.train("full")
    lease = project.state().lease
    assert lease is not None
    assert lease.holder == "test/full"
    assert project.answering_version() == "1"
    project.train_as(control, "full", seed=50)
