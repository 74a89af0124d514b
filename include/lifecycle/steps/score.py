"""Score: all rows of some partitions, labelled or not, by one version; its scores become a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.lifecycle.data.joined_rows import write_joined
from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.data.pinned import lost_data
from include.lifecycle.data.point_in_time import EVENT_TIME, KEY, pin_versions
from include.lifecycle.data.privacy.policies import require_one_key
from include.lifecycle.data.publishing import published_table, scores_table
from include.lifecycle.data.spans import Span, partitions_within, require_published
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.model.predictor import Predictor, as_columns
from include.lifecycle.release.named import training_of
from include.lifecycle.spec.profile import open_profile
from include.lifecycle.spec.value import canonical_json, sha256
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.evaluate import load_package, specs_of
from include.lifecycle.steps.running import Work
from include.lifecycle.store.lake import PARTITION, Replacement
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, Receipt, read_receipt

GROUP = 1 << 19
"""Rows of the partitions that are joined at a time; a partition with more is joined as a whole."""
BATCH = 1 << 16
"""Rows that are scored at a time."""
SCHEMA = pa.schema(
    {
        "key": pa.string(),
        "event_time": pa.timestamp("us", tz="UTC"),
        "score": pa.float64(),
        "version": pa.string(),
        "version_as_of": pa.timestamp("us", tz="UTC"),
        "run_key": pa.string(),
    }
)


def plan(
    model: str, version: str | None, span: Span | None, store: Store, *, awaited: bool = False
) -> Call | None:
    """The call that scores a span of a model's rows (None: the newest partition) by a version (None: the
    champion), with the inputs and joins that the version was trained with.

    Where a span is `awaited`, it is None when nothing of the span is published, and raises Transient when
    that is still to come; otherwise raises Rejected. So it does for a version that the ledger does not know.
    """
    version, run_key = training_of(model, version, store, to="score")
    trained_with, datasets = specs_of(read_receipt(run_key, store))
    rows, pins = datasets[trained_with.rows], pin_versions(trained_with, store)
    if trained_with.joins:
        require_one_key(datasets, pins, store)
    contents = published_table(rows.name, store).partitions(pins[rows.name])
    if awaited and span is not None:
        require_published(rows, contents, span)
    chosen = partitions_within(rows, contents, span)
    if not chosen and not awaited:
        raise Rejected(
            f"no published partition of {rows.name} ends {span}; there are {min(contents)} to "
            f"{max(contents)}: ask for some of those, or run {rows.name}.ingest first"
        )
    if not chosen:
        return None
    return Call(
        step="score",
        spec={},
        inputs={
            "train": run_key,
            "version": version,
            "versions": pins,
            "partitions": {name: contents[name] for name in chosen},
            "over": scores_table(model, store).publications(chosen),
        },
        as_of=calendar_of(rows).named(chosen[-1]).end,
        code=code_hash("score"),
    )


def run(work: Work) -> None:
    """Results `version`, `table_version` of the scores, and the `first` and `last` partition; counts
    rows_in = rows_scored of all partitions, and how many partitions were `replaced`.

    A partition with scores of the same rows by the same version is left as it is. Raises Transient when rows
    that were pinned are gone meanwhile, or another run scored a partition first.
    """
    inputs, trained = work.call.inputs, read_receipt(work.call.inputs["train"], work.store)
    model, _ = specs_of(trained)
    table, labels = scores_table(model.name, work.store), _labels(work.call, model.rows)
    there = table.partitions()
    new = [name for name, label in labels.items() if there.get(name) != label]
    rows = published_table(model.rows, work.store).rows(inputs["versions"][model.rows])
    files = _score(work, trained, new, rows)
    replacements = {name: Replacement(labels[name], files[name], inputs["over"].get(name)) for name in new}
    version, _ = table.publish_together(replacements, work.run_key)
    # After they are there: of an erasure at the same time one of the two sees the other.
    _require_data(work)
    scored = table.rows(version)
    work.counts |= {
        "rows_in": sum(rows[name] for name in labels),
        "rows_scored": sum(scored[name] for name in labels),
        "replaced": len(new),
    }
    work.results |= {"version": inputs["version"], "table_version": version}
    work.results |= {"first": min(labels), "last": max(labels)}


def _labels(call: Call, rows: str) -> dict[str, str]:
    """What tells each partition's scores apart: all that they come from, and not the span that was asked."""
    inputs = call.inputs
    joined = {name: version for name, version in inputs["versions"].items() if name != rows}
    return {
        name: sha256(canonical_json([inputs["train"], inputs["version"], content, joined, call.code]))
        for name, content in inputs["partitions"].items()
    }


def _score(
    work: Work, trained: Receipt, partitions: Iterable[str], rows: Mapping[str, int]
) -> dict[str, Path]:
    """A file of scores for each of the partitions, of which so many `rows` are in memory at most."""
    model, datasets = specs_of(trained)
    predictor = load_package(trained, work, open_profile().threads)
    joined, files = work.folder / "joined.parquet", {}
    for group in _groups(partitions, rows):
        try:
            write_joined(model, datasets, work.call.inputs["versions"], work.store, group, joined)
        except Rejected:
            _require_data(work)
            raise
        pieces = _pieces(joined, predictor, trained, work)
        for name, parts in groupby(pieces, key=itemgetter(0)):
            files[name] = _write(work.folder / f"{name}.parquet", (part for _, part in parts))
        for name in set(group) - files.keys():
            files[name] = _write(work.folder / f"{name}.parquet", ())
    _require_data(work)
    return files


def _groups(partitions: Iterable[str], rows: Mapping[str, int]) -> Iterator[list[str]]:
    """Partitions that are joined together: one, or as many as have no more rows than GROUP."""
    group, count = list[str](), 0
    for name in partitions:
        if group and count + rows[name] > GROUP:
            yield group
            group, count = [], 0
        group.append(name)
        count += rows[name]
    if group:
        yield group


def _pieces(
    joined: Path, predictor: Predictor, trained: Receipt, work: Work
) -> Iterator[tuple[str, pa.Table]]:
    """The scores of a file's rows, batch by batch, cut where a partition ends; with its name."""
    with pq.ParquetFile(joined) as file:
        for batch in file.iter_batches(BATCH):
            columns = {
                "key": batch.column(KEY),
                "event_time": batch.column(EVENT_TIME),
                "score": _scores(batch, predictor, work.call.inputs["version"]),
                "version": _same(work.call.inputs["version"], len(batch)),
                "version_as_of": _same(trained.call.as_of, len(batch)),
                "run_key": _same(work.run_key, len(batch)),
            }
            scored, start = pa.table(columns, schema=SCHEMA), 0
            runs = pc.run_end_encode(batch.column(PARTITION))
            for name, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
                yield name, scored.slice(start, end - start)
                start = end


def _scores(batch: pa.RecordBatch, predictor: Predictor, version: str) -> npt.NDArray[np.float64]:
    """The probabilities of the positive class, by the version's own features."""
    rows = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in predictor.inputs}
    try:
        scores = predictor.predict_columns(as_columns(rows, predictor.inputs))
    except (Exception, SystemExit) as error:
        raise Rejected(
            f"version {version} cannot score these rows: {type(error).__name__}: {error}; its features must "
            "take every row of the table: mend them and train again, or score by another version"
        ) from error
    if scores.shape != (len(batch),):
        raise Rejected(
            f"version {version} gives {scores.shape} scores for {len(batch)} rows; its features must give "
            "one value for each row: mend them and train again, or score by another version"
        )
    return scores


def _same(value: str | datetime, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value), count)


def _write(file: Path, parts: Iterable[pa.Table]) -> Path:
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for part in parts:
            writer.write_table(part)
    return file


def _require_data(work: Work) -> None:
    """Raise Transient when rows are gone that the call pinned: the next try pins what is there then."""
    if lost := lost_data(work.call.inputs["versions"], work.store):
        raise Transient(f"{lost}; the scores are made again from the newest version")
