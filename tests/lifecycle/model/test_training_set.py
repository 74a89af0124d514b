"""Rows in memory and rows on disk are one training set: batches, categories, references, versions."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from include.lifecycle.data.point_in_time import EVENT_TIME, KEY, LABEL
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.model.checkpoints import NoCheckpoints
from include.lifecycle.model.features import compute_features, load_feature_code
from include.lifecycle.model.matrix import categories_of
from include.lifecycle.model.training import Trained, fit, train
from include.lifecycle.model.training_set import InMemory, OnDisk, TrainingSet, sample_of
from include.lifecycle.monitor.drift import describe
from include.lifecycle.spec.model import Training
from tests.lifecycle.model.test_checkpoints import Notebook
from tests.lifecycle.tiny import midnight

pytestmark = pytest.mark.usefixtures("project")

END = midnight(21)
ROOT = Path(__file__).resolve().parents[3]
INPUTS = {"city": "string", "distance": "number", "stops": "integer", "express": "boolean"}
CODE = b"""
import numpy as np


def features(rows):
    return {
        "distance": rows["distance"],
        "city": rows["city"],
        "far": rows["distance"] > 500,
        "stops": np.nan_to_num(rows["stops"]).astype(int),
        "express": rows["express"],
    }
"""


def draw_rows(count: int, seed: int = 5) -> pd.DataFrame:
    """Rows as a store has them; long trips with stops are late."""
    draw = np.random.default_rng(seed)
    moments = np.linspace(midnight(1).timestamp(), END.timestamp() - 1, count)
    rows = pd.DataFrame(
        {
            KEY: np.arange(count).astype(str),
            EVENT_TIME: pd.to_datetime(moments, unit="s", utc=True).as_unit("us"),
            "city": draw.choice(np.array(["BER", "MUC", "Öl", "a", None], dtype=object), count),
            "distance": np.where(draw.random(count) < 0.1, np.nan, draw.uniform(1, 1000, count)),
            "stops": draw.integers(0, 4, count),
            "express": draw.integers(0, 2, count).astype(float),
        }
    )
    slow = 4 * (rows["city"] == "MUC") - 3 * rows["express"]
    late = rows["distance"].fillna(0) / 40 + 3 * rows["stops"] + slow + draw.normal(0, 6, count) > 16
    return rows.assign(**{LABEL: late.astype(float)})


def in_memory(rows: pd.DataFrame) -> InMemory:
    return InMemory(rows, compute_features(load_feature_code(CODE), rows, INPUTS))


def on_disk(rows: pd.DataFrame, folder: Path, batch: int, code: bytes = CODE) -> OnDisk:
    """With batches of so many rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "rows.parquet", index=False)
    loaded = load_feature_code(code, "late.py")
    return OnDisk.write(
        folder / "rows.parquet", folder / "features.parquet", loaded, INPUTS, "late.py", batch * len(INPUTS)
    )


def whole(table: TrainingSet, since: datetime | None, until: datetime | None) -> pd.DataFrame:
    """A span in one piece, numbers as floats."""
    batches = list(table.between(since, until))
    found = pd.concat(batches, ignore_index=True) if batches else pd.DataFrame()
    return found.astype(dict.fromkeys(table.numbers, float)) if len(found) else pd.DataFrame()


moments = st.none() | st.integers(0, 20).map(midnight)


@settings(max_examples=10)
@given(
    count=st.integers(1, 60),
    batch=st.integers(1, 70),
    seed=st.integers(0, 9),
    since=moments,
    until=moments,
    days=st.integers(1, 9),
)
def test_on_disk_are_the_rows_categories_references_and_samples_that_are_in_memory(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    batch: int,
    seed: int,
    since: datetime | None,
    until: datetime | None,
    days: int,
) -> None:
    rows = draw_rows(count, seed)
    there, here = on_disk(rows, tmp_path_factory.mktemp("disk"), batch), in_memory(rows)
    assert len(there) == len(here) == count
    pd.testing.assert_frame_equal(whole(there, since, until), whole(here, since, until))
    assert categories_of(there, until) == categories_of(here, until)
    span = timedelta(days=days)
    assert describe(there, span) == describe(here, span)
    drawn = [sample_of(table, 20, seed) for table in (there, here)]
    pd.testing.assert_frame_equal(drawn[0], drawn[1][drawn[0].columns], check_dtype=False)


def test_no_batch_is_larger_than_asked_for(tmp_path: Path) -> None:
    table = on_disk(draw_rows(1000), tmp_path, batch=300)
    assert [len(batch) for batch in table.between(None, None)] == [300, 300, 300, 100]
    assert sum(len(batch) for batch in table.between(midnight(3), midnight(9))) == 300
    assert [list(batch) for batch in table.between(midnight(20), None, ["city"])] == [["city"]]


def test_a_feature_that_changes_its_kind_between_batches_is_refused(tmp_path: Path) -> None:
    code = b"def features(rows):\n    return {'odd': rows['city' if len(rows['city']) > 10 else 'stops']}\n"
    with pytest.raises(Rejected, match=r"late.py: odd is not in every batch of rows"):
        on_disk(draw_rows(35), tmp_path, batch=30, code=code)


TRAINING = Training.model_validate(
    {
        "stop": "4d",
        "gate": "6d",
        "max_trees": 60,
        "patience": 5,
        "seed": 3,
        "segment": 7,
        "parameters": {"max_depth": 4, "learning_rate": 0.2, "eval_metric": "auc", "subsample": 0.7},
    }
)
ROWS = draw_rows(20_000)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> OnDisk:
    """Seven batches, none of which ends where a span does."""
    return on_disk(ROWS, tmp_path_factory.mktemp("training"), batch=3333)


def auc(trained: Trained) -> float:
    return float(roc_auc_score(trained.gate[LABEL], trained.gate["score"]))


def test_beyond_memory_a_version_is_as_good_as_in_memory(disk: OnDisk) -> None:
    there, here = train(TRAINING, disk, END), train(TRAINING, in_memory(ROWS), END)
    assert there.fitted.categories == here.fitted.categories
    assert next(iter(there.fitted.categories.items())) == ("city", ["BER", "MUC", "a", "Öl"])
    assert there.base_rate == here.base_rate
    columns = [KEY, EVENT_TIME, LABEL]
    pd.testing.assert_frame_equal(there.gate[columns], here.gate[columns])
    assert auc(here) > 0.8
    assert auc(there) == pytest.approx(auc(here), abs=0.001)


def test_beyond_memory_a_training_stopped_anywhere_ends_as_the_unbroken_one(disk: OnDisk) -> None:
    unbroken, states, stops = train(TRAINING, disk, END), {}, iter([9, 30, 70])
    while True:
        hands = Notebook(next(stops, 10**9), {fit: list(kept) for fit, kept in states.items()})
        try:
            resumed = train(TRAINING, disk, END, hands)
            break
        except Transient:
            states = hands.states
    assert states
    assert resumed.fitted.classifier.save_raw("ubj") == unbroken.fitted.classifier.save_raw("ubj")
    pd.testing.assert_frame_equal(resumed.gate, unbroken.gate, check_exact=True)


def test_a_fit_knows_the_categories_of_its_own_rows_alone() -> None:
    rows, later = draw_rows(500), midnight(15)
    rows.loc[rows[EVENT_TIME] >= later, "city"] = "ZRH"
    known = [
        fit("gate", TRAINING, 1, in_memory(rows), NoCheckpoints(), until).categories["city"]
        for until in (later, None)
    ]
    assert known == [["BER", "MUC", "a", "Öl"], ["BER", "MUC", "ZRH", "a", "Öl"]]


def test_reading_stops_when_the_process_is_told_to_end(disk: OnDisk) -> None:
    told = Notebook(rounds=3)
    with pytest.raises(Transient, match="will go on from tree 0 of the choosing fit"):
        train(TRAINING, disk, END, told)
    assert told.states == {}


def test_nothing_of_a_training_stays_on_the_disk(disk: OnDisk) -> None:
    train(TRAINING, disk, END)
    assert [file for file in disk.cache.rglob("pages-*/*") if file.is_file()] == []


MEASURE = """
import resource, sys
from pathlib import Path
from include.lifecycle.model.checkpoints import NoCheckpoints
from include.lifecycle.model.training import fit
from include.lifecycle.model.training_set import OnDisk
from include.lifecycle.spec.model import Training
from include.lifecycle.store.scan import connect

folder, count = Path(sys.argv[1]), int(sys.argv[2])
names = [f"x{place}" for place in range(10)]
numbers = ", ".join(f"random() AS {name}" for name in names)
with connect() as db:
    db.execute(
        f"COPY (SELECT i::VARCHAR AS _key, TIMESTAMPTZ '2024-01-01' + to_seconds(i) AS _event_time, "
        f"(i % 2)::DOUBLE AS _label, {numbers} FROM range({count}) AS rows(i)) TO '{folder}/rows.parquet'"
    )

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

before = peak()
inputs = dict.fromkeys(names, "number")
where = folder / "rows.parquet", folder / "features.parquet"
table = OnDisk.write(*where, lambda columns: columns, inputs, "late.py", 1 << 19)
fit("final", Training(parameters={"max_depth": 2}), 2, table, NoCheckpoints())
print(len(table), peak() - before)
"""


def test_beyond_memory_needs_much_less_than_its_rows(tmp_path: Path) -> None:
    """A million rows more are 80 MB of numbers, without their keys and labels."""
    grown = {}
    for rows in (100_000, 1_100_000):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, tmp_path, str(rows)],
            cwd=ROOT,
            env={**os.environ, "PERENNIAL_MEMORY": str(64 << 20)},
            capture_output=True,
            text=True,
            check=True,
        )
        count, grown[rows] = map(int, done.stdout.split())
        assert count == rows
    assert grown[1_100_000] < grown[100_000] + 80 / 2
