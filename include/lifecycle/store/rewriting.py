"""Rewrites a table file by file with wider types, in one commit that no other commit may come before."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.transaction import AddAction, RemoveAction

from include.lifecycle.errors import Rejected
from include.lifecycle.store.columns import widened_schema
from include.lifecycle.store.data_files import DataFile, adding, data_files, labels_of
from include.lifecycle.store.objects import Store
from include.lifecycle.store.scratch import scratch_folder

_BATCH_ROWS = 1 << 16


def rewrite(table: DeltaTable, rows: pa.Schema, store: Store, path: str, commit: CommitProperties) -> None:
    """Give a table's columns the types that new rows have; partitions and their labels stay.

    One file at a time is held on disk and one batch in memory. `commit` must allow no retry: a file
    that another run added meanwhile would keep its narrow types. Raises Rejected when a value does not
    fit, such as a whole number beyond 2⁵³ into a number.
    """
    schema = widened_schema(table.schema(), rows)
    fragments = {fragment.path: fragment for fragment in table.to_pyarrow_dataset().get_fragments()}
    with scratch_folder("rewrite") as folder:
        actions: list[AddAction | RemoveAction] = [
            _rewritten(file, fragments[file["path"]], schema, folder, store, path)
            for file in data_files(table)
        ]
    table.create_write_transaction(
        actions,
        mode="overwrite",
        schema=Schema.from_arrow(schema),
        partition_by=table.metadata().partition_columns,
        commit_properties=commit,
    )


def _rewritten(
    file: DataFile, fragment: ds.Fragment, schema: pa.Schema, folder: Path, store: Store, path: str
) -> AddAction:
    """A new file in the table's folder with a file's rows, cast."""
    wide = pa.schema([schema.field(name) for name in fragment.physical_schema.names])
    scratch = folder / "rows.parquet"
    with pq.ParquetWriter(scratch, wide, compression="zstd") as writer:
        batches = fragment.to_batches(
            schema=fragment.physical_schema,
            batch_size=_BATCH_ROWS,
            batch_readahead=1,
            use_threads=False,
            # Or the whole file is read ahead into memory.
            fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True),
        )
        for batch in batches:
            writer.write_batch(_cast(batch, wide))
    name = f"{file['path'].split('/')[0]}/{uuid.uuid4().hex}.parquet"
    store.copy_in(scratch, f"{path}/{name}", f"table {path}")
    return adding(name, scratch.stat().st_size, labels_of(file), file["num_records"])


def _cast(batch: pa.RecordBatch, wide: pa.Schema) -> pa.RecordBatch:
    columns = []
    for column, field in zip(batch.columns, wide, strict=True):
        try:
            columns.append(column.cast(field.type))
        except pa.ArrowInvalid as error:
            raise Rejected(
                f"column {field.name}: a published value does not fit the wider type ({error}); "
                "make it a string, or restore its type"
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=wide)
