"""The rows of one partition on their way from staging: typed, and parted into good and bad, in DuckDB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.lifecycle.data.literals import quoted, text
from include.lifecycle.data.types import arrow_types, cast, faults
from include.lifecycle.spec.dataset import ColumnType, DatasetSpec
from include.lifecycle.spec.value import canonical_json, sha256
from include.lifecycle.store.scan import connect

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

STAGED, TYPED = "staged_rows", "typed_rows"
_PARQUET = "(FORMAT parquet, COMPRESSION zstd)"


@dataclass(frozen=True)
class Broken:
    """A rule that some rows break, and SQL over `typed_rows` that is true for those."""

    rule: str
    where: str


@dataclass(frozen=True)
class Parted:
    """How many rows are good, in quarantine, and repeats of a good row's key."""

    good: int
    quarantined: dict[str, int]
    """By the rule that they broke, the most frequent first."""
    repeated: int
    content: str
    """Tells the good rows from others: equal rows have the same, in whatever order they came."""


@dataclass(frozen=True)
class PartitionRows:
    """Staged rows as the views `staged_rows`, as the source wrote them, and `typed_rows`; both with the
    row's place in the file as `_row`."""

    spec: DatasetSpec
    db: duckdb.DuckDBPyConnection
    columns: dict[str, ColumnType]
    """Those of the dataset, then those that the source has besides, as text."""
    count: int

    def frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The typed rows, or some of their columns, in memory, in the file's order."""
        kinds = {name: self.columns[name] for name in columns or self.columns}
        names = ", ".join(map(quoted, kinds))
        found = self.db.sql(f"SELECT {names} FROM {TYPED} ORDER BY _row").to_arrow_table()
        frame: pd.DataFrame = found.cast(arrow_types(kinds)).to_pandas()
        return frame

    def part(self, rules: Iterable[Broken], good: Path, bad: Path, run_key: str) -> Parted:
        """Write the good rows, typed, and the bad ones, as JSON of what the source wrote.

        A bad row carries the first rule that it breaks. Of good rows with one key the one with the newest
        event time stays.
        """
        quarantined = self._find_bad(rules)
        self._write_bad(bad, run_key)
        written = self._write_good(good, repeats=self._find_repeats())
        repeated = self.count - sum(quarantined.values()) - written
        return Parted(written, quarantined, repeated, self._content(good, written))

    def keep(self, name: str, found: pa.Table) -> None:
        """Keep rows as a table of this connection."""
        self.db.register("found", found)
        self.db.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM found")
        self.db.unregister("found")

    def _find_bad(self, rules: Iterable[Broken]) -> dict[str, int]:
        rules = list(rules)
        cases = "".join(f" WHEN {item.where} THEN {text(item.rule)}" for item in rules)
        broken = f"coalesce(_fault, CASE{cases} END)" if cases else "_fault"
        # The filter is many times cheaper than to ask each row for its first rule.
        some = " OR ".join(["_faulty", *(f"({item.where})" for item in rules)])
        self.db.execute(
            f"CREATE OR REPLACE TEMP TABLE bad_rows AS SELECT _row, {broken} AS rule FROM {TYPED} "
            f"WHERE {some}"
        )
        return dict(_found(self.db, "SELECT rule, count(*) FROM bad_rows GROUP BY rule ORDER BY 2 DESC, 1"))

    def _write_bad(self, file: Path, run_key: str) -> None:
        written = ", ".join(f"{text(name)}: s.{quoted(name)}" for name in self.columns)
        self.db.execute(
            f"COPY (SELECT to_json({{{written}}})::VARCHAR AS row, b.rule AS rule, "
            f"{text(run_key)} AS run_key FROM {STAGED} s JOIN bad_rows b ON s._row = b._row ORDER BY b._row) "
            f"TO {text(str(file))} {_PARQUET}"
        )

    def _find_repeats(self) -> bool:
        """Whether a key of the good rows comes more than once; those keys go to a table."""
        keys = ", ".join(map(quoted, self.spec.key))
        # Numbers of eight bytes need less memory than keys, of which few are looked at after them.
        self.db.execute(
            f"CREATE OR REPLACE TEMP TABLE suspects AS SELECT hash({keys}) AS of_key FROM {TYPED} "
            "GROUP BY of_key HAVING count(*) > 1"
        )
        self.db.execute(
            f"CREATE OR REPLACE TEMP TABLE repeated_keys AS SELECT {keys} FROM {TYPED} "
            f"ANTI JOIN bad_rows USING (_row) WHERE hash({keys}) IN (FROM suspects) "
            f"GROUP BY {keys} HAVING count(*) > 1"
        )
        ((found,),) = self.db.execute("SELECT count(*) FROM repeated_keys").fetchall()
        return bool(found)

    def _write_good(self, file: Path, *, repeats: bool) -> int:
        names, keys = ", ".join(map(quoted, self.columns)), ", ".join(map(quoted, self.spec.key))
        good = f"SELECT {names} FROM {TYPED} ANTI JOIN bad_rows USING (_row)"
        if repeats:
            others = ", ".join(f"{quoted(name)} DESC" for name in self.columns)
            newest = f"{quoted(self.spec.event_time)} DESC, {others}"
            good = (
                f"SELECT {names} FROM ({good}) ANTI JOIN repeated_keys USING ({keys}) UNION ALL "
                f"SELECT {names} FROM (SELECT {names} FROM ({good}) SEMI JOIN repeated_keys USING ({keys})) "
                f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {newest}) = 1"
            )
        ((written,),) = self.db.execute(f"COPY ({good}) TO {text(str(file))} {_PARQUET}").fetchall()
        return int(written)

    def _content(self, good: Path, count: int) -> str:
        """sha256 over the columns, the number of rows and the sum of their hashes, which no order changes."""
        names = ", ".join(map(quoted, self.columns))
        ((total,),) = self.db.execute(
            f"SELECT sum(hash({names})::HUGEINT) FROM read_parquet({text(str(good))})"
        ).fetchall()
        return sha256(canonical_json([list(self.columns.items()), count, str(total)]))


@contextmanager
def open_rows(spec: DatasetSpec, staged: Path, scratch: Path) -> Iterator[PartitionRows]:
    """The rows of a staged file. Timestamps without an offset are those of the dataset's time zone.

    Memory stays within the profile's; what is more goes to the scratch folder.
    """
    with connect() as db:
        db.execute(f"SET TimeZone = {text(spec.timezone)}")
        db.execute(f"SET temp_directory = {text(str(scratch / 'spill'))}")
        db.execute("SET enable_external_file_cache = false")
        # Else DuckDB declares a column without missing values as one that never has any.
        db.execute("SET disabled_optimizers = 'statistics_propagation'")
        file = f"read_parquet({text(str(staged))}, file_row_number = true)"
        db.execute(f"CREATE TEMP VIEW {STAGED} AS SELECT * RENAME (file_row_number AS _row) FROM {file}")
        names = [str(row[0]) for row in _found(db, f"DESCRIBE {STAGED}") if row[0] != "_row"]
        kinds: dict[str, ColumnType] = {name: item.type for name, item in spec.published.items()}
        kinds |= dict.fromkeys((name for name in names if name not in kinds), "string")
        typed = ", ".join(f"{cast(name, kind)} AS {quoted(name)}" for name, kind in kinds.items())
        wrong = faults(spec, {name: item.type for name, item in spec.published.items()})
        cases = "".join(f" WHEN {where} THEN {text(said)}" for said, where in wrong.items())
        db.execute(
            f"CREATE TEMP VIEW {TYPED} AS SELECT _row, {typed}, {' OR '.join(wrong.values())} AS _faulty, "
            f"CASE{cases} END AS _fault FROM {STAGED}"
        )
        ((count,),) = _found(db, f"SELECT count(*) FROM {STAGED}")
        yield PartitionRows(spec, db, kinds, count)


def _found(db: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return db.execute(query).fetchall()
