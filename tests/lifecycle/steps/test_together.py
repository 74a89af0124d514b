"""A training by several workers: real processes, one store."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from include.lifecycle.model.evaluation import metrics_of
from include.lifecycle.steps import train
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.receipts import Call, Receipt, write_call
from tests.lifecycle import tiny
from tests.lifecycle.tiny import MODEL, Project, midnight

WORKERS = 3


def plan(world: Project, workers: int) -> Call:
    if workers > 1:
        world.edit("models/late.yaml", "training:", f"compute: {{train: {{workers: {workers}}}}}\ntraining:")
    call = train.plan(world.catalog.model(MODEL), world.catalog, midnight(22), world.store)
    write_call(call, world.store)
    return call


def gate_of(receipt: Receipt, world: Project) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(world.store.read(receipt.outputs["gate"])))


def auc_of(receipt, world):
    gate = gate_of(receipt, world)
    return metrics_of(gate["_label"].to_numpy(), gate["score"].to_numpy())["auc"]

def test_x(world):
    import time
    a = run_step(plan(world, 1), world.store)[0]
    t = time.time()
    b = run_step(plan(world, 3), world.store)[0]
    print(time.time()-t)
    print(a.results, a.counts, auc_of(a, world))
    print(b.results, b.counts, auc_of(b, world))
    print({k for k in a.outputs if a.outputs[k]==b.outputs[k]})
    ga, gb = gate_of(a, world), gate_of(b, world)
    assert ga._key.equals(gb._key)
    assert 0
