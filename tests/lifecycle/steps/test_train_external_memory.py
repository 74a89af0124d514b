"""A training that never loads its rows whole, run as a step."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from include.lifecycle.errors import Rejected, SpecError
from include.lifecycle.steps import evaluate, train
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.receipts import Receipt
from tests.lifecycle import people, tiny
from tests.lifecycle.tiny import MODEL, Project, midnight


def beyond_memory(project: Project) -> None:
    project.edit("models/late.yaml", "training:\n", "training:\n  external_memory: true\n")


@pytest.fixture
def there(world: Project) -> Receipt:
    """The world's training again, with its rows on disk."""
    beyond_memory(world)
    return tiny.train_as_of(world, midnight(22))


def read(project: Project, receipt: Receipt, output: str) -> pd.DataFrame:
    return pd.read_parquet(project.store.fetch(receipt.outputs[output], project.root / "read.parquet"))


def document(project: Project, receipt: Receipt, output: str) -> Any:
    return json.loads(project.store.read(receipt.outputs[output]))


def test_it_says_of_its_rows_what_a_training_in_memory_says(
    world: Project, trained: Receipt, there: Receipt
) -> None:
    assert there.run_key != trained.run_key
    assert train.fingerprint(there.call) != train.fingerprint(trained.call)
    assert there.counts == trained.counts
    same = ("base_rate", "newest_event")
    assert [there.results[name] for name in same] == [trained.results[name] for name in same]
    for output in ("reference", "example", "predictor.json"):
        assert document(world, there, output) == document(world, trained, output)
    ours, theirs = (read(world, receipt, "sample") for receipt in (there, trained))
    pd.testing.assert_frame_equal(ours[list(theirs)], theirs, check_dtype=False)


def test_it_is_as_good_and_can_be_evaluated(world: Project, trained: Receipt, there: Receipt) -> None:
    ours, theirs = (read(world, receipt, "gate") for receipt in (there, trained))
    pd.testing.assert_frame_equal(ours.drop(columns="score"), theirs.drop(columns="score"))
    scores = [roc_auc_score(gate["_label"], gate["score"]) for gate in (ours, theirs)]
    assert scores[0] == pytest.approx(scores[1], abs=0.001)
    evaluated, _ = run_step(evaluate.plan(there, None, world.store), world.store)
    assert evaluated.results["evaluation"]["candidate"]["auc"]["value"] == pytest.approx(scores[0])


def test_the_same_call_gives_the_same_bytes(world: Project, there: Receipt) -> None:
    world.store.remove(f"receipts/{there.run_key}.json")
    again, adopted = run_step(there.call, world.store)
    assert not adopted
    assert again.outputs == there.outputs


def test_no_rows_are_refused_as_in_memory(world: Project) -> None:
    beyond_memory(world)
    with pytest.raises(Rejected, match="late: no row of trips has a label that had matured at 2024-01-01"):
        tiny.train_as_of(world, midnight(1))


def test_files_that_are_gone_are_told_with_their_table(world: Project) -> None:
    beyond_memory(world)
    for file in (world.root / "store/tables/sky").glob("_partition=2024-01-05/*"):
        file.unlink()
    with pytest.raises(Rejected, match=r"sky at version \d+ or trips .*: files are gone"):
        tiny.train_as_of(world, midnight(22))


def test_groups_of_quasi_identifiers_are_refused_by_name(project: Project, monkeypatch: Any) -> None:
    people.put_days(people.make_private(project.root, monkeypatch), 1, 2)
    beyond_memory(project)
    with pytest.raises(Rejected, match=r"late.yaml: training.external_memory: .*trips.born, trips.post_code"):
        tiny.train_as_of(project, midnight(3))


def test_private_rows_leave_nobodys_row_as_an_example(project: Project, monkeypatch: Any) -> None:
    people.put_days(people.make_private(project.root, monkeypatch), 1, 9)
    project.edit("datasets/trips.yaml", "quasi_identifiers: [born, post_code]", "quasi_identifiers: []")
    in_memory = tiny.train_as_of(project, midnight(10))
    beyond_memory(project)
    there = tiny.train_as_of(project, midnight(10))
    assert document(project, there, "example") == document(project, in_memory, "example")


def test_a_gpu_is_refused_with_it(world: Project) -> None:
    beyond_memory(world)
    world.edit("models/late.yaml", "training:", "compute: {train: {gpu: 1}}\ntraining:")
    with pytest.raises(SpecError, match="take out external_memory, or gpu from"):
        world.catalog.model(MODEL)
