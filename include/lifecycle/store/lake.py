"""Delta tables in the store: one commit per publication, pinned versions that stay readable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.store.objects import Store, store_trouble

PARTITION = "_partition"
CONTENT = "_content"
# Delta drops old log entries after 30 days by default, and with them the versions models name.
_KEEP_LOG = {"delta.enableExpiredLogCleanup": "false"}


class Table:
    """One Delta table, partitioned by `_partition` and by the sha256 of the partition's content.

    The content's hash is a partition column, so that the log alone tells what is published.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self.uri = store.table_uri(name)
        self._options = store.options or None
        self._local = "://" not in self.uri

    def version(self) -> int | None:
        """The newest version, or None when nothing was published yet."""
        table = self._open()
        return None if table is None else table.version()

    def partitions(self, version: int | None = None) -> dict[str, str]:
        """Content hash of every published partition at a version (default: the newest)."""
        table = self._open(version)
        if table is None:
            return {}
        return {item[PARTITION]: item[CONTENT] for item in table.partitions()}

    def publish(
        self, partition: str, content: str, rows: pa.RecordBatchReader, run_key: str
    ) -> tuple[int, bool]:
        """Replace one partition in one commit; returns the table's version and whether it changed.

        The same content again makes no commit. Raises Transient when another commit won.
        """
        schema = _with_partition_columns(rows.schema)
        table = self._open() or self._create(schema)
        if self.partitions().get(partition) == content:
            return table.version(), False
        with self._people_can_read_errors():
            write_deltalake(
                table,
                pa.RecordBatchReader.from_batches(schema, _labelled(rows, schema, partition, content)),
                mode="overwrite",
                predicate=f"{PARTITION} = '{partition}'",
                commit_properties=_carrying(run_key),
            )
        return table.version(), True

    def append_once(self, rows: pa.Table, writer: str, number: int) -> None:
        """Append rows of a log, which have `_partition` as a column of their own, in one commit.

        The commit records the writer's `number` (Delta's transaction identifier); see `appended_by`.
        """
        table = self._open() or self._create(rows.schema, PARTITION)
        properties = CommitProperties(app_transactions=[Transaction(writer, number)])
        with self._people_can_read_errors():
            write_deltalake(table, rows, mode="append", commit_properties=properties)

    def appended_by(self, writer: str) -> int:
        """The number of the writer's newest `append_once` in the table, or 0."""
        table = self._open()
        return 0 if table is None else table.transaction_version(writer) or 0

    def dataset(self, version: int | None = None) -> ds.Dataset | None:
        """The rows at a version as an Arrow dataset that is scanned, never loaded whole."""
        table = self._open(version)
        if table is None:
            return None
        with self._people_can_read_errors():
            return table.to_pyarrow_dataset()

    def _open(self, version: int | None = None) -> DeltaTable | None:
        if self._local and not Path(self.uri, "_delta_log").is_dir():
            return None
        try:
            with self._people_can_read_errors():
                return DeltaTable(self.uri, version=version, storage_options=self._options)
        except TableNotFoundError:
            return None

    def _create(self, schema: pa.Schema, *partition_by: str) -> DeltaTable:
        if self._local:
            Path(self.uri).mkdir(parents=True, exist_ok=True)
        with self._people_can_read_errors():
            return DeltaTable.create(
                self.uri,
                schema=schema,
                mode="ignore",
                partition_by=list(partition_by or (PARTITION, CONTENT)),
                configuration=_KEEP_LOG,
                storage_options=self._options,
            )

    @contextmanager
    def _people_can_read_errors(self) -> Iterator[None]:
        try:
            yield
        except TableNotFoundError:
            raise
        except CommitFailedError as error:
            raise Transient(f"table {self.name}: another run committed first; run again") from error
        except DeltaError as error:
            if "schema" in str(error).lower():
                raise Rejected(
                    f"table {self.name}: columns differ from the table's; restore them in {self.name}.yaml, "
                    f"or give the dataset a new name and ingest it again: {error}"
                ) from error
            raise Transient(store_trouble(self.uri, f"table {self.name}", error)) from error
        except OSError as error:
            raise Transient(store_trouble(self.uri, f"table {self.name}", error)) from error


def _carrying(run_key: str) -> CommitProperties:
    return CommitProperties(custom_metadata={"run_key": run_key})


def _with_partition_columns(schema: pa.Schema) -> pa.Schema:
    return pa.schema([*schema, pa.field(PARTITION, pa.string()), pa.field(CONTENT, pa.string())])


def _labelled(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, partition: str, content: str
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        labels: list[Any] = [pa.repeat(partition, len(batch)), pa.repeat(content, len(batch))]
        yield pa.RecordBatch.from_arrays([*batch.columns, *labels], schema=schema)
