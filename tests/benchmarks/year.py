"""The flights of 2013 as published tables, as a year of ingestion leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from include.demo import feed
from include.lifecycle.data.partition_rows import open_rows
from include.lifecycle.data.partitions import Calendar, calendar_of
from include.lifecycle.data.publishing import published_table
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.value import sha256
from include.lifecycle.store.objects import Store
from tests.lifecycle.tiny import write_rows

MODEL = "flight_delay"


def publish_year(store: Store, *, at_once: bool = False) -> None:
    """Publish each day of flights and each month of weather; their audit is left out.

    `at_once` puts all rows into the year's last partition: the same rows in one file, not in 366.
    """
    catalog = open_catalog()
    for name, days in (("flights", feed.flights()), ("weather", feed.weather())):
        _publish(catalog.dataset(name), days, store, at_once)


def _publish(spec: DatasetSpec, days: Mapping[str, pd.DataFrame], store: Store, at_once: bool) -> None:
    table = published_table(spec.name, store)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        pd.concat(days.values())[list(spec.published)].to_parquet(file, index=False)
        with open_rows(spec, file, Path(folder)) as staged:
            parted = staged.part([], Path(folder) / "good", Path(folder) / "bad", run_key="benchmark")
        if parted.quarantined:
            raise ValueError(f"{spec.name}: {parted.quarantined} rows are not of their types")
        rows = pd.read_parquet(Path(folder) / "good")
        partitions = _partitions(rows[spec.event_time], calendar_of(spec))
        if at_once:
            partitions[:] = partitions.max()
        for partition, part in rows.groupby(partitions):
            write_rows(spec, part, file)
            table.publish(str(partition), sha256(file.read_bytes()), file, run_key="benchmark")


def _partitions(moments: pd.Series, calendar: Calendar) -> pd.Series:
    names = {moment: calendar.holding(moment).name for moment in moments.unique()}
    return moments.map(names)
