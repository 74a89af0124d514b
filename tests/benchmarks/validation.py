"""How much sooner does DuckDB judge a large partition than Great Expectations on pandas?

`python -m tests.benchmarks.validation` stages 1,000,000 rows of 20 columns and audits them by 40
expectations: each way in a process of its own, which has imported everything before the clock starts.
Both begin with the staged text and end with Great Expectations' result and page. Both work on one
thread; their seconds are the processor's, so that what else runs on the machine does not count.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from include.lifecycle.data.partition_rows import open_rows
from include.lifecycle.data.validation.audit import audit
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.store.scan import connect
from tests.benchmarks.figures import Figure, at_least, at_most, plain, print_figures

ROWS, MORE_ROWS = 1_000_000, 4_000_000
MIN_RATIO = 5.0
MEMORY, MAX_OVER = 128 << 20, 1.1
"""What the profile allows DuckDB, in bytes; what the process may take beyond it, as a share."""
_KINDS = ("number", "number", "integer", "string")
_COLUMNS = {f"c{place:02}": _KINDS[place % 4] for place in range(18)}
_CODES = ["AA", "BB", "CC", "DD"]
_NEVER = 10**12


@dataclass(frozen=True)
class Measured:
    """One way's time, peak of resident memory beyond what its imports take, and verdicts."""

    seconds: float
    elapsed: float
    megabytes: float
    verdicts: list[tuple[str, bool, int | None]]


def main() -> None:
    """Measure, and print the figures."""
    print_figures(run())


def run() -> list[Figure]:
    """Audit the same rows both ways, and more rows in DuckDB."""
    with TemporaryDirectory(prefix="perennial-validation-") as name, patch.dict(os.environ):
        folder = Path(name)
        _use_profile(folder)
        few, many = _stage(folder / "few.parquet", ROWS), _stage(folder / "many.parquet", MORE_ROWS)
        theirs = _measure(few, _NEVER)
        ours = _measure(few, 0)
        more = _measure(many, 0)
    if ours.verdicts != theirs.verdicts:
        raise RuntimeError(f"the verdicts differ: {ours.verdicts} and {theirs.verdicts}")
    for who, found in (("Great Expectations", theirs), ("DuckDB", ours), ("DuckDB, 4 times the rows", more)):
        print(
            f"{who:26} {found.seconds:6.2f} s ({found.elapsed:.2f} s by the clock) {found.megabytes:8,.0f} MB"
        )
    ratio, limit = theirs.seconds / ours.seconds, MEMORY * MAX_OVER / 1e6
    return [
        at_least("validation: times Great Expectations' speed", MIN_RATIO, ratio, ".1f"),
        plain("validation: 1M rows, 20 columns, 40 checks", f"{ours.seconds:.2f} s"),
        plain("validation: memory on top, of Great Expectations'", f"{theirs.megabytes:,.0f} MB"),
        plain("validation: memory on top, of ours", f"{ours.megabytes:,.0f} MB"),
        at_most("validation: memory on top, of 4M rows", round(limit), more.megabytes, ",.0f", " MB"),
    ]


def _use_profile(folder: Path) -> None:
    """Little memory and one thread, for this process and those that it starts."""
    profile = folder / "profiles/local.yaml"
    profile.parent.mkdir()
    profile.write_text(f"threads: 1\nmemory: {MEMORY}B\n")
    os.environ["PERENNIAL_SPECS"] = str(folder)
    os.environ.pop("PERENNIAL_PROFILE", None)


def _spec(compile_above: int) -> DatasetSpec:
    rules: list[dict[str, object]] = [
        {"expect_table_row_count_to_be_between": {"min_value": 1, "max_value": 10**9}},
        {"expect_column_values_to_be_unique": {"column": "id"}},
        {"expect_column_mean_to_be_between": {"column": "c00", "min_value": 0, "max_value": 1000}},
        {
            "expect_column_pair_values_a_to_be_greater_than_b": {
                "column_A": "c01",
                "column_B": "c00",
                "mostly": 0.1,
            }
        },
    ]
    for column, kind in _COLUMNS.items():
        rules.append({"expect_column_values_to_not_be_null": {"column": column, "mostly": 0.9}})
        if kind == "string":
            rules.append({"expect_column_values_to_be_in_set": {"column": column, "value_set": _CODES}})
        else:
            between = {"column": column, "min_value": 0, "max_value": 999, "mostly": 0.9}
            rules.append({"expect_column_values_to_be_between": between})
    if len(rules) != 40:
        raise RuntimeError(f"{len(rules)} rules")
    return DatasetSpec.model_validate(
        {
            "name": "wide",
            "description": "20 columns",
            "partition": "day",
            "schedule": {"start": "2024-01-01"},
            "source": {"type": "files", "path": "{partition:%Y-%m-%d}.csv"},
            "columns": {"id": "string", "at": "timestamp", **_COLUMNS},
            "key": ["id"],
            "event_time": "at",
            "expectations": rules,
            "validation": {"compile_above": compile_above},
        }
    )


def _stage(file: Path, rows: int) -> Path:
    """Rows as text, as extract leaves them; one value in a hundred is missing."""
    values = {
        "number": "(hash(i, {place}) % 1000000 / 1000)::VARCHAR",
        "integer": "(hash(i, {place}) % 1000)::VARCHAR",
        "string": f"{_CODES}[(hash(i, {{place}}) % 4 + 1)::INTEGER]",
    }
    columns = ", ".join(
        f"CASE WHEN hash({place}, i) % 100 > 0 THEN {values[kind].format(place=place)} END AS {name}"
        for place, (name, kind) in enumerate(_COLUMNS.items())
    )
    with connect() as db:
        db.execute(
            f"COPY (SELECT 'r' || i AS id, (TIMESTAMP '2024-01-01' + to_milliseconds(i % 86000000))::VARCHAR "
            f"AS at, {columns} FROM range({rows}) t(i)) TO '{file}' (FORMAT parquet)"
        )
    return file


def _measure(staged: Path, compile_above: int) -> Measured:
    """One audit in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_audit, (staged, compile_above))


def _audit(staged: Path, compile_above: int) -> Measured:
    _import_everything(staged.parent)
    before = _peak()
    started, elapsed = time.process_time(), time.perf_counter()
    with open_rows(_spec(compile_above), staged, staged.parent) as rows:
        found = audit(rows, "2024-01-01")
    seconds, elapsed = time.process_time() - started, time.perf_counter() - elapsed
    if found.engines:
        raise RuntimeError(f"not compiled: {found.engines}")
    verdicts = [
        (item["expectation_config"]["type"], item["success"], item["result"].get("unexpected_count"))
        for item in json.loads(found.result)["results"]
    ]
    return Measured(seconds, elapsed, (_peak() - before) / 1e6, verdicts)


def _import_everything(folder: Path) -> None:
    """Audit a few rows each way: what is imported once is not what is measured."""
    few = _stage(folder / f"warm-{os.getpid()}.parquet", 100)
    for compile_above in (0, _NEVER):
        with open_rows(_spec(compile_above), few, folder) as rows:
            audit(rows, "2024-01-01")


def _peak() -> int:
    """Peak resident memory of this process in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
