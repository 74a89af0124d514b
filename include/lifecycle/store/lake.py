"""Delta tables in the store: one commit per publication, pinned versions that stay readable."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
from include.lifecycle.store.columns import changed_types, new_columns, require_fitting
from include.lifecycle.store.data_files import adding, data_files, labels_of, removing
from include.lifecycle.store.objects import Store, store_trouble
from include.lifecycle.store.publications import next_after, number_of
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


@dataclass(frozen=True)
class Replacement:
    """A file that comes in a partition's place, and the publication that it replaces; see `Table.publish`."""

    content: str
    file: Path
    over: str | EllipsisType | None = ...


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
        return self.publications([partition]).get(partition)

    def publications(self, partitions: Iterable[str]) -> dict[str, str]:
        """The same of several, those that were never published left out."""
        table = self._open()
        numbers = {name: number_of(table, name) for name in partitions} if table else {}
        return {name: str(number) for name, number in numbers.items() if number}

    def rows(self, version: int | None = None) -> Counter[str]:
        """How many rows each partition has at a version (default: the newest), as the log says."""
        table, found = self._open(version), Counter[str]()
        for file in data_files(table) if table else ():
            found[str(labels_of(file)[PARTITION])] += file["num_records"]
        return found

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
        return self.publish_together({partition: Replacement(content, file, over)}, run_key, widen=widen)

    def publish_together(
        self, replacements: Mapping[str, Replacement], run_key: str, *, widen: bool = False
    ) -> tuple[int, bool]:
        """`publish` for several partitions, by name, whose files have the same columns: a reader sees all
        of them replaced, or none. What has its content already is left as it is."""
        table = self._open()
        there = {} if table is None else _labels(table)
        new = {name: item for name, item in replacements.items() if there.get(name) != item.content}
        if table is not None and not new:
            return table.version(), False
        schema = pq.read_schema(next(iter(new.values())).file)
        if table is None:
            table = self._create(_with_partition_columns(schema), _PARTITIONED_BY, _PUBLISHED)
        require_fitting(self.name, table.schema(), schema, widen=widen)
        replaced = {name: number_of(table, name, item.over) for name, item in new.items()}
        adds = [self._copy_in(item, name) for name, item in new.items()]
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
                    return self._commit(table, adds, schema, replaced, run_key, widen=widen)
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

    def _fit(self, table: DeltaTable, rows: pa.Schema, run_key: str) -> None:
        """Give the table the wider types and the columns of rows that are about to be published."""
        if changed_types(table.schema(), rows):
            rewrite(table, rows, self._store, self.path, _carrying(run_key, retries=0))
            table.update_incremental()
        if new := new_columns(table.schema(), rows):
            table.alter.add_columns(new, commit_properties=_carrying(run_key))

    def _copy_in(self, new: Replacement, partition: str) -> AddAction:
        """Put a file into the table's folder under a name never used before: no reader sees it yet."""
        path = f"{PARTITION}={partition}/{uuid.uuid4().hex}.parquet"
        self._store.copy_in(new.file, f"{self.path}/{path}", f"table {self.name}")
        labels = {PARTITION: partition, CONTENT: new.content}
        return adding(path, new.file.stat().st_size, labels, pq.read_metadata(new.file).num_rows)

    def _commit(
        self,
        table: DeltaTable,
        adds: list[AddAction],
        rows: pa.Schema,
        replaced: Mapping[str, int],
        run_key: str,
        *,
        widen: bool,
    ) -> tuple[int, bool]:
        """Put files in the place of their partitions'; other partitions' commits are no hindrance."""
        labels = _labels(table)
        new = {str(add.partition_values[PARTITION]): add for add in adds}
        new = {name: add for name, add in new.items() if labels.get(name) != add.partition_values[CONTENT]}
        if not new:
            return table.version(), False
        for name in new:
            if number_of(table, name) != replaced[name]:
                raise Transient(f"table {self.name}: another run published {name} first; run again")
        require_fitting(self.name, table.schema(), rows, widen=widen)
        self._fit(table, rows, run_key)
        # Of two writers of one new partition neither removes a file: this tells them apart.
        marks = [next_after(name, replaced[name]) for name in new]
        table.create_write_transaction(
            [
                *new.values(),
                *(removing(file) for file in data_files(table) if labels_of(file)[PARTITION] in new),
            ],
            mode="append",
            schema=table.schema(),
            partition_by=_PARTITIONED_BY,
            commit_properties=_carrying(run_key, *marks),
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


def _labels(table: DeltaTable) -> dict[str, str]:
    return {item[PARTITION]: item[CONTENT] for item in table.partitions()}


def _with_partition_columns(schema: pa.Schema) -> pa.Schema:
    # A file without a missing value may say that its columns never have one; the next file may differ.
    fields = [pa.field(field.name, field.type) for field in schema]
    return pa.schema([*fields, pa.field(PARTITION, pa.string()), pa.field(CONTENT, pa.string())])
