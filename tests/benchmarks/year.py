"""The flights of 2013 as published tables, as a year of ingestion leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from include.demo import feed
from include.lifecycle.data.partitions import Calendar, calendar_of
from include.lifecycle.data.publishing import newest_per_key, publish, published_table, write_good
from include.lifecycle.data.types import typed
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.value import sha256
from include.lifecycle.store.objects import Store

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
        pd.concat(days.values()).to_parquet(file)
        rows, broken = typed(spec, file)
        if broken.notna().any():
            raise ValueError(f"{spec.name}: {broken.dropna().iloc[0]}")
        rows = newest_per_key(spec, rows)
        partitions = _partitions(rows[spec.event_time], calendar_of(spec))
        if at_once:
            partitions[:] = partitions.max()
        for partition, part in rows.groupby(partitions):
            write_good(spec, part, file)
            publish(table, str(partition), sha256(file.read_bytes()), file, run_key="benchmark")


def _partitions(moments: pd.Series, calendar: Calendar) -> pd.Series:
    names = {moment: calendar.holding(moment).name for moment in moments.unique()}
    return moments.map(names)
