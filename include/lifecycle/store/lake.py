"""Delta tables in the store: one commit per publication, pinned versions that stay readable."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import EllipsisType

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.store.columns import changed_types, new_columns
from include.lifecycle.store.data_files import adding, data_files, labels_of, removing
from include.lifecycle.store.objects import Store, store_trouble
from include.lifecycle.store.rewriting import rewrite

PARTITION = "_partition"
CONTENT = "_content"
_PARTITIONED_BY = [PARTITION, CONTENT]
_PROPERTIES = {
    # Delta drops old log entries after 30 days by default, and with them the versions models name.
    "delta.enableExpiredLogCleanup": "false",
    # Smallest and greatest values would put rows' values into the log, from which nobody can erase them.
    "delta.dataSkippingNumIndexedCols": "0",
}
# Whoever opens a table reads the log since the newest checkpoint: 25 commits cost half of Delta's 100.
_PUBLISHED = {**_PROPERTIES, "delta.checkpointInterval": "25"}
_ATTEMPTS = 20


class Table:
    """One Delta table, partitioned by `_partition` and by a label of the partition's content.

    The label is a partition column, so that the log alone tells what is published. Restricted tables
    lie under `quarantine/` instead of `tables/`, so that a bucket's policy can tell them apart; a
    folder is closed to other users.
    """

    def __init__(self, store: Store, name: str, *, restricted: bool = False) -> None:
        folder = "quarantine" if restricted else "tables"
        self.name = f"{folder}/{name}" if restricted else name
        self.path = f"{folder}/{name}"
        self.uri = store.table_uri(name, folder)
        self._restricted = restricted
        self._store = store
        self._options = store.options or None
        self._local = "://" not in self.uri

    def version(self) -> int | None:
        """The newest version, or None when nothing was published yet."""
        table = self._open()
        return None if table is None else table.version()

    def partitions(self, version: int | None = None) -> dict[str, str]:
        """Content label of every published partition at a version (default: the newest)."""
        table = self._open(version)
        return {} if table is None else _labels(table)

    def publication(self, partition: str) -> str | None:
        """Which publication of a partition is the newest: counted from "1"; None before the first."""
        table = self._open()
        number = table.transaction_version(partition_writer(partition)) if table else None
        return None if number is None else str(number)

    def publish(
        self,
        partition: str,
        content: str,
        file: Path,
        run_key: str,
        *,
        over: str | EllipsisType | None = ...,
        widen: bool = False,
    ) -> tuple[int, bool]:
        """Replace one partition by a Parquet file's rows; returns the table's version and whether it changed.

        The file is copied as it is, and one commit puts it in the place of the old one. The same content
        again makes no commit. Columns that the table lacks are added to it first; with `widen`, a wider
        type rewrites it first. `over` is the publication that is replaced; without it, the newest. Raises
        Transient when another run published the partition meanwhile, Rejected when a type changed in any
        other way.
        """
        table = self._open()
        if table is not None and _labels(table).get(partition) == content:
            return table.version(), False
        with pq.ParquetFile(file) as parquet:
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
        if table is None:
            table = self._create(_with_partition_columns(schema), _PARTITIONED_BY, _PUBLISHED)
        self._check_types(table, schema, widen=widen)
        newest = table.transaction_version(partition_writer(partition)) or 0
        replaced = newest if isinstance(over, EllipsisType) else int(over or 0)
        add = self._copy_in(file, partition, content, rows)
        again = Retrying(
            retry=retry_if_exception_type(CommitFailedError),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random(max=0.2),
            reraise=True,
        )
        with self.people_can_read_errors():
            for attempt in again:
                with attempt:
                    if attempt.retry_state.attempt_number > 1:
                        table = DeltaTable(self.uri, storage_options=self._options)
                    return self._commit(table, add, schema, replaced, run_key, widen=widen)
        raise AssertionError("tenacity raises the last error itself")

    def append_once(self, rows: pa.Table, writer: str, number: int) -> None:
        """Append rows of a log, which have `_partition` as a column of their own, in one commit.

        The commit records the writer's `number` (Delta's transaction identifier); see `appended_by`.
        """
        table = self._open() or self._create(rows.schema, [PARTITION], _PROPERTIES)
        properties = CommitProperties(app_transactions=[Transaction(writer, number)])
        with self.people_can_read_errors():
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
        with self.people_can_read_errors():
            return table.to_pyarrow_dataset()

    def files(self) -> dict[str, int]:
        """Path in the table's folder, and bytes, of every data file there, old versions' files too."""
        found = self._store.sizes(self.path)
        names = {path.removeprefix(f"{self.path}/"): size for path, size in found.items()}
        return {name: size for name, size in names.items() if not name.startswith("_delta_log/")}

    @contextmanager
    def opened(self, version: int | None = None) -> Iterator[DeltaTable | None]:
        """The Delta table itself, for upkeep; None when nothing was published. Errors are for people."""
        table = self._open(version)
        with self.people_can_read_errors():
            yield table

    def _open(self, version: int | None = None) -> DeltaTable | None:
        if self._local and not Path(self.uri, "_delta_log").is_dir():
            return None
        try:
            with self.people_can_read_errors():
                return DeltaTable(self.uri, version=version, storage_options=self._options)
        except TableNotFoundError:
            return None

    def _create(
        self, schema: pa.Schema, partition_by: list[str], properties: Mapping[str, str]
    ) -> DeltaTable:
        if self._local:
            folder = Path(self.uri)
            if self._restricted:
                folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(parents=True, exist_ok=True)
        with self.people_can_read_errors():
            return DeltaTable.create(
                self.uri,
                schema=schema,
                mode="ignore",
                partition_by=partition_by,
                configuration=properties,
                storage_options=self._options,
            )

    def _check_types(self, table: DeltaTable, rows: pa.Schema, *, widen: bool) -> None:
        cure = f"restore the type in {self.name}.yaml"
        for change in changed_types(table.schema(), rows):
            if not change.widens:
                raise Rejected(
                    f"table {self.name}: {change}: {cure}, or give the dataset a new name and ingest it again"
                )
            if not widen:
                raise Rejected(
                    f"table {self.name}: {change}: {cure}, or write schema_changes: {{widened: rewrite}} "
                    "there to rewrite the table with the wider type"
                )

    def _fit(self, table: DeltaTable, rows: pa.Schema, run_key: str) -> None:
        """Give the table the wider types and the columns of rows that are about to be published."""
        if changed_types(table.schema(), rows):
            rewrite(table, rows, self._store, self.path, _carrying(run_key, retries=0))
            table.update_incremental()
        if new := new_columns(table.schema(), rows):
            table.alter.add_columns(new, commit_properties=_carrying(run_key))

    def _copy_in(self, file: Path, partition: str, content: str, rows: int) -> AddAction:
        """Put a file into the table's folder under a name never used before: no reader sees it yet."""
        path = f"{PARTITION}={partition}/{uuid.uuid4().hex}.parquet"
        self._store.copy_in(file, f"{self.path}/{path}", f"table {self.name}")
        labels = {PARTITION: partition, CONTENT: content}
        return adding(path, file.stat().st_size, labels, rows)

    def _commit(
        self,
        table: DeltaTable,
        add: AddAction,
        rows: pa.Schema,
        replaced: int,
        run_key: str,
        *,
        widen: bool,
    ) -> tuple[int, bool]:
        """Put a file in the place of its partition's; other partitions' commits are no hindrance."""
        partition, content = (str(add.partition_values[name]) for name in _PARTITIONED_BY)
        if _labels(table).get(partition) == content:
            return table.version(), False
        if (table.transaction_version(partition_writer(partition)) or 0) != replaced:
            raise Transient(f"table {self.name}: another run published {partition} first; run again")
        self._check_types(table, rows, widen=widen)
        self._fit(table, rows, run_key)
        table.create_write_transaction(
            [add, *(removing(file) for file in data_files(table) if labels_of(file)[PARTITION] == partition)],
            mode="append",
            schema=table.schema(),
            partition_by=_PARTITIONED_BY,
            # Of two writers of one new partition neither removes a file: this tells them apart.
            commit_properties=_carrying(run_key, Transaction(partition_writer(partition), replaced + 1)),
        )
        table.update_incremental()
        return table.version(), True

    @contextmanager
    def people_can_read_errors(self) -> Iterator[None]:
        """Raise Transient or Rejected in the place of Delta's errors."""
        try:
            yield
        except TableNotFoundError:
            raise
        except CommitFailedError as error:
            raise Transient(f"table {self.name}: another run committed first; run again") from error
        except DeltaError as error:
            if "schema" in str(error).lower():
                raise Rejected(
                    f"table {self.name}: columns differ from the table's; restore them, "
                    f"or write to a table of another name: {error}"
                ) from error
            raise Transient(store_trouble(self.uri, f"table {self.name}", error)) from error
        except OSError as error:
            raise Transient(store_trouble(self.uri, f"table {self.name}", error)) from error


def _carrying(run_key: str, *marks: Transaction, retries: int | None = None) -> CommitProperties:
    return CommitProperties(
        custom_metadata={"run_key": run_key}, app_transactions=list(marks), max_commit_retries=retries
    )


def partition_writer(partition: str) -> str:
    """Under what name Delta counts the publications of a partition."""
    return f"partition {partition}"


def _labels(table: DeltaTable) -> dict[str, str]:
    return {item[PARTITION]: item[CONTENT] for item in table.partitions()}


def _with_partition_columns(schema: pa.Schema) -> pa.Schema:
    # A file without a missing value may say that its columns never have one; the next file may differ.
    fields = [pa.field(field.name, field.type) for field in schema]
    return pa.schema([*fields, pa.field(PARTITION, pa.string()), pa.field(CONTENT, pa.string())])
