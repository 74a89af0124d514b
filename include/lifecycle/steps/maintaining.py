"""Maintains every table of a project: published rows, quarantine, prediction logs, scores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial

from include.lifecycle.data.maintenance import RETENTION, Upkeep, maintain, maintain_quarantine
from include.lifecycle.data.publishing import published_table, quarantine_table, scores_table
from include.lifecycle.errors import LifecycleError, Rejected, Transient
from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.steps.expiring import remove_expired_outputs
from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import Store


def maintain_tables(
    catalog: Catalog,
    store: Store,
    pins: Mapping[str, Collection[int]],
    now: datetime,
    retention: timedelta = RETENTION,
) -> list[Upkeep]:
    """What was done to each table that was published to.

    `pins` are the versions per dataset that models not archived were trained on (`Registry.pinned_versions`);
    versions that nobody is pinned on stay readable for `retention` after they were replaced.
    What goes wrong with one table keeps no other from its upkeep; it is raised at the end: Transient
    when a retry may help, Rejected otherwise.
    """
    done, troubles = [], []
    for work in _works(catalog, store, pins, now, retention):
        try:
            done.append(work())
        except LifecycleError as trouble:
            troubles.append(trouble)
    if troubles:
        kind = Transient if any(isinstance(item, Transient) for item in troubles) else Rejected
        raise kind("; ".join(map(str, troubles)))
    return done


def _works(
    catalog: Catalog,
    store: Store,
    pins: Mapping[str, Collection[int]],
    now: datetime,
    retention: timedelta,
) -> Iterator[Callable[[], Upkeep]]:
    """The upkeep of each table that is there, to be called."""
    for name in catalog.dataset_names():
        if (table := published_table(name, store)).version() is not None:
            yield partial(maintain, table, pins.get(name, ()), retention)
        if (table := quarantine_table(name, store)).version() is not None:
            yield partial(_maintain_quarantine, catalog, name, table, now, store)
    for name in catalog.model_names():
        for table in (prediction_log(name, store), scores_table(name, store)):
            if table.version() is not None:
                yield partial(maintain, table, (), retention)


def _maintain_quarantine(catalog: Catalog, dataset: str, table: Table, now: datetime, store: Store) -> Upkeep:
    """Its own function, so that a broken YAML keeps no other table from its upkeep."""
    keep = catalog.dataset(dataset).quarantine.keep
    done = maintain_quarantine(table, keep, now)
    return done.model_copy(update={"expired_outputs": remove_expired_outputs(dataset, now - keep, store)})
