"""Reads a model's rows as they were known at a moment: pinned versions, matured labels, lagged joins."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.dataset as ds

from include.lifecycle.data.literals import text
from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.data.publishing import published_table
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.catalog import label_known_after
from include.lifecycle.spec.dataset import Column, DatasetSpec
from include.lifecycle.spec.model import Join, ModelSpec
from include.lifecycle.store.objects import Store
from include.lifecycle.store.scan import connect

_PIECE = 1 << 15
"""Rows."""
KEY, EVENT_TIME, LABEL, GROUP = "_key", "_event_time", "_label", "_group"


def watermark(dataset: DatasetSpec, store: Store) -> datetime | None:
    """End of the newest published partition, or None when nothing was published."""
    names = published_table(dataset.name, store).partitions()
    if not names:
        return None
    return calendar_of(dataset).named(max(names)).end


def pin_versions(model: ModelSpec, store: Store) -> dict[str, int]:
    """The newest version of each of the model's tables; raises Rejected when one is empty."""
    pins = {}
    for name in (model.rows, *(join.dataset for join in model.joins)):
        version = published_table(name, store).version()
        if version is None:
            raise Rejected(f"dataset {name} has no published partition; run {name}.ingest first")
        pins[name] = version
    return pins


def read_rows(
    model: ModelSpec,
    datasets: Mapping[str, DatasetSpec],
    pins: Mapping[str, int],
    store: Store,
    *,
    as_of: datetime,
    since: datetime | None = None,
    grouped_by: Sequence[tuple[str, str]] = (),
    share: tuple[int, int] = (0, 1),
) -> pd.DataFrame:
    """Rows whose label had matured at `as_of`, oldest first.

    Columns: `_key` (str), `_event_time` (UTC), the model's inputs, `_label` (0.0 or 1.0); with
    `grouped_by`, pairs of dataset and column, also `_group`: how many of these rows share the row's
    values there; how many people, where the model's rows name a subject (those without one are one).
    Rows without a label are left out. Of a `share`, the n-th of so many, only the rows come whose hash
    falls to it; every row is in one share.
    """
    rows = datasets[model.rows]
    with connected_to(pins, store) as db:
        shared = [f"_shared{place}" for place in range(len(grouped_by))]
        more = [
            f'{_table(model, item[0])}."{item[1]}" AS {name}'
            for item, name in zip(grouped_by, shared, strict=True)
        ]
        counted = "*"
        if shared and rows.privacy is not None and rows.privacy.subject is not None:
            more.append(f"coalesce(CAST(r.\"{rows.privacy.subject}\" AS VARCHAR), '') AS _subject")
            counted = "DISTINCT _subject"
        there = ", ".join(item.rpartition(" AS ")[2] for item in more)
        what = f"* EXCLUDE ({there}), count({counted}) OVER (PARTITION BY {', '.join(shared)}) AS {GROUP}"
        known = _known(model, datasets, as_of, since, *more)
        ours = "true" if share == (0, 1) else f"hash({KEY}, epoch_us({EVENT_TIME})) % {share[1]} = {share[0]}"
        found: pd.DataFrame = db.sql(
            f"SELECT * FROM (SELECT {what if shared else '*'} FROM ({known})) WHERE {ours} "
            f"ORDER BY {EVENT_TIME}, {KEY}"
        ).df()
    return found


def write_rows(
    model: ModelSpec,
    datasets: Mapping[str, DatasetSpec],
    pins: Mapping[str, int],
    store: Store,
    file: Path,
    *,
    as_of: datetime,
    since: datetime | None = None,
) -> int:
    """Write what `read_rows` reads to a Parquet file; returns how many rows.

    What the profile's memory does not hold lies beside the file meanwhile.
    """
    with connected_to(pins, store) as db:
        for name, version in pins.items():
            table = published_table(name, store).dataset(version)
            db.register(name, sparingly(table, used_columns(model, datasets[name])))
        db.execute(f"SET temp_directory = {text(str(file.with_name('spill')))}")
        ((count,),) = db.execute(
            f"COPY (FROM ({_known(model, datasets, as_of, since)}) ORDER BY {EVENT_TIME}, {KEY}) "
            f"TO {text(str(file))} (FORMAT parquet, COMPRESSION zstd)"
        ).fetchall()
    return int(count)


def sparingly(table: ds.Dataset, columns: Collection[str], where: ds.Expression | None = None) -> ds.Scanner:
    """Some columns, and rows, of a table, read piece by piece: Arrow's reading ahead takes gigabytes else,
    which DuckDB's limit does not count."""
    return table.scanner(
        [name for name in table.schema.names if name in columns],
        where,
        batch_size=_PIECE,
        batch_readahead=1,
        fragment_readahead=1,
        use_threads=False,
        fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False),
    )


def used_columns(model: ModelSpec, dataset: DatasetSpec) -> set[str]:
    """The columns of a dataset that a model may read."""
    joined_by = (column for join in model.joins for column in join.by)
    return {dataset.key[0], dataset.event_time, model.label.column, *model.inputs, *joined_by}


def read_labels(
    model: ModelSpec,
    rows: DatasetSpec,
    version: int,
    store: Store,
    *,
    matured_after: datetime,
    matured_by: datetime,
) -> pd.DataFrame:
    """`_key`, `_event_time` and `_label` of rows whose label became known in a span of time."""
    mature = label_known_after(model, rows)
    with connected_to({model.rows: version}, store) as db:
        found: pd.DataFrame = db.sql(
            f'SELECT * FROM (SELECT {_identity(model, rows)} FROM "{model.rows}" r '
            f'WHERE epoch_us(r."{rows.event_time}") > {_us(matured_after - mature)} '
            f'AND epoch_us(r."{rows.event_time}") <= {_us(matured_by - mature)}) WHERE {LABEL} IS NOT NULL'
        ).df()
    return found


def count_labels(model: ModelSpec, rows: DatasetSpec, version: int, store: Store, as_of: datetime) -> int:
    """How many rows had a matured label at `as_of`, within the training's history."""
    until = as_of - label_known_after(model, rows)
    where = f'epoch_us(r."{rows.event_time}") <= {_us(until)}'
    if model.training.history is not None:
        where += f' AND epoch_us(r."{rows.event_time}") >= {_us(as_of - model.training.history)}'
    with connected_to({model.rows: version}, store) as db:
        (count,) = db.execute(
            f'SELECT count(r."{model.label.column}") FROM "{model.rows}" r WHERE {where}'
        ).fetchall()[0]
    return int(count)


@contextmanager
def connected_to(pins: Mapping[str, int], store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with pinned tables under their names.

    Raises Rejected when a column is not published, or a pinned version is not whole any more.
    """
    with connect() as db:
        for name, version in pins.items():
            db.register(name, published_table(name, store).dataset(version))
        try:
            yield db
        except duckdb.BinderException as error:
            raise Rejected(
                f"the published tables {', '.join(pins)} do not have the columns of their YAML: restore "
                "them there, or give the dataset a new name and ingest it again "
                f"({str(error).splitlines()[0]})"
            ) from error
        except duckdb.Error as error:
            if "FileNotFoundError" not in str(error):
                raise
            pinned = " or ".join(f"{name} at version {version}" for name, version in pins.items())
            raise Rejected(
                f"{pinned}: files are gone, since somebody was erased or old versions were vacuumed; this "
                "cannot be repeated any more: train again on the newest version"
            ) from error


def _identity(model: ModelSpec, rows: DatasetSpec) -> str:
    label = f'r."{model.label.column}"'
    return (
        f'CAST(r."{rows.key[0]}" AS VARCHAR) AS {KEY}, r."{rows.event_time}" AS {EVENT_TIME}, '
        f"CASE WHEN {label} IS NULL THEN NULL WHEN {label} >= {model.label.at_least!r} "
        f"THEN 1.0 ELSE 0.0 END::DOUBLE AS {LABEL}"
    )


def _table(model: ModelSpec, dataset: str) -> str:
    """The name that a dataset has in the query."""
    joined = [join.dataset for join in model.joins]
    return "r" if dataset == model.rows else f"j{joined.index(dataset)}"


def select_rows(
    model: ModelSpec, datasets: Mapping[str, DatasetSpec], *more: str, source: str | None = None
) -> str:
    """SQL of all rows, each joined as of its event time; `source` has them in the place of their table."""
    rows = datasets[model.rows]
    joins = [
        _asof_join(f"j{index}", join, datasets[join.dataset], rows) for index, join in enumerate(model.joins)
    ]
    return (
        f"SELECT {_identity(model, rows)}, {', '.join([*_inputs(model, datasets), *more])} "
        f'FROM "{source or model.rows}" r {" ".join(joins)}'
    )


def _known(
    model: ModelSpec,
    datasets: Mapping[str, DatasetSpec],
    as_of: datetime,
    since: datetime | None,
    *more: str,
) -> str:
    """The rows whose label had matured, in no order."""
    rows = datasets[model.rows]
    event_time = f'epoch_us(r."{rows.event_time}")'
    where = f"{event_time} <= {_us(as_of - label_known_after(model, rows))}"
    if since is not None:
        where += f" AND {event_time} >= {_us(since)}"
    return f"SELECT * FROM ({select_rows(model, datasets, *more)} WHERE {where}) WHERE {LABEL} IS NOT NULL"


def _inputs(model: ModelSpec, datasets: Mapping[str, DatasetSpec]) -> list[str]:
    """Each input with the table it comes from; a joined value older than tolerated is missing."""
    found = []
    for name in model.inputs:
        if (column := datasets[model.rows].columns.get(name)) is not None:
            found.append(f'{_number("r", name, column)} AS "{name}"')
            continue
        index, join = next(
            (index, join) for index, join in enumerate(model.joins) if name in datasets[join.dataset].columns
        )
        event_time = f'j{index}."{datasets[join.dataset].event_time}"'
        oldest = _plus(f'r."{datasets[model.rows].event_time}"', -(join.lag + join.tolerance))
        value = _number(f"j{index}", name, datasets[join.dataset].columns[name])
        found.append(f'CASE WHEN epoch_us({event_time}) >= {oldest} THEN {value} END AS "{name}"')
    return found


def _number(table: str, name: str, column: Column) -> str:
    """A column, a truth value as a number: pandas has no missing truth values that NumPy knows."""
    return f'{table}."{name}"' + ("::DOUBLE" if column.type == "boolean" else "")


def _asof_join(alias: str, join: Join, joined: DatasetSpec, rows: DatasetSpec) -> str:
    same = " AND ".join(f'r."{column}" = {alias}."{column}"' for column in join.by)
    newest = _plus(f'r."{rows.event_time}"', -join.lag)
    return (
        f'ASOF LEFT JOIN "{join.dataset}" {alias} '
        f'ON {same} AND {newest} >= epoch_us({alias}."{joined.event_time}")'
    )


def _plus(column: str, duration: timedelta) -> str:
    return f"epoch_us({column}) + {_us_of(duration)}"


def _us(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def _us_of(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
