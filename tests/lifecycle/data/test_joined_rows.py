"""What is scored is joined as what is learned from."""

from datetime import timedelta

import pandas as pd
import pytest

from include.lifecycle.data.joined_rows import write_joined
from include.lifecycle.data.point_in_time import EVENT_TIME, LABEL, pin_versions, read_rows
from include.lifecycle.spec.model import Join
from include.lifecycle.steps.train import datasets_of
from tests.lifecycle.tiny import MODEL, Project, midnight

ITSELF = Join(dataset="trips", by=("city",), lag=timedelta(hours=5), tolerance=timedelta(days=2))
SOON = Join(dataset="sky", by=("city",), lag=timedelta(minutes=7), tolerance=timedelta(minutes=20))


@pytest.mark.parametrize("more", [(), (SOON,), (ITSELF,)], ids=["a join", "the same twice", "with itself"])
def test_rows_of_some_partitions_are_those_that_training_reads(
    world: Project, more: tuple[Join, ...]
) -> None:
    model = world.catalog.model(MODEL)
    datasets, pins = datasets_of(model, world.catalog), pin_versions(model, world.store)
    model = model.model_copy(update={"joins": (*more, *model.joins)})
    partitions, file = ["2024-01-12", "2024-01-05", "2024-01-06"], world.root / "joined.parquet"
    write_joined(model, datasets, pins, world.store, partitions, file)
    found = pd.read_parquet(file)
    learned = read_rows(model, datasets, pins, world.store, as_of=midnight(30))
    theirs = learned[EVENT_TIME].dt.strftime("%Y-%m-%d").isin(partitions)
    assert found["rain"].notna().sum() > 100 or more == (SOON,)
    pd.testing.assert_frame_equal(
        found.drop(columns="_partition"), learned[theirs].drop(columns=LABEL).reset_index(drop=True)
    )
    assert found["_partition"].drop_duplicates().tolist() == sorted(partitions)
