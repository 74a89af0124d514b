import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.lifecycle.data.partition_rows import PartitionRows, open_rows
from include.lifecycle.data.validation.audit import Audit, audit, judge_quarantine
from include.lifecycle.data.validation.suite import build_rules
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project

IN_DUCKDB, IN_GX = 0, 10**9
BOTH = pytest.mark.parametrize("above", [IN_DUCKDB, IN_GX], ids=["DuckDB", "Great Expectations"])


def _expecting(project: Project, above: int, *rules: dict[str, dict[str, object]]) -> DatasetSpec:
    spec = project.catalog.dataset("trips").model_dump(mode="json")
    expectations = rules or spec["expectations"]
    return DatasetSpec.model_validate(
        {**spec, "expectations": expectations, "validation": {"compile_above": above}}
    )


@contextmanager
def _opened(project: Project, spec: DatasetSpec, rows: pd.DataFrame) -> Iterator[PartitionRows]:
    texts = [
        {name: None if pd.isna(cell) else str(cell) for name, cell in row.items()}
        for row in rows.to_dict("records")
    ]
    file = project.root / "staged.parquet"
    pq.write_table(pa.Table.from_pylist(texts, pa.schema([(name, pa.string()) for name in rows])), file)
    with open_rows(spec, file, project.root) as opened:
        yield opened


def _audit(project: Project, spec: DatasetSpec, rows: pd.DataFrame) -> tuple[Audit, list[dict[str, Any]]]:
    """The audit, and the rows that go to quarantine."""
    with _opened(project, spec, rows) as opened:
        found = audit(opened, "2024-01-01")
        good, bad = project.root / "good.parquet", project.root / "bad.parquet"
        opened.part(found.broken, good, bad, "run")
    return found, pq.read_table(bad).to_pylist()


def _rules(bad: list[dict[str, Any]]) -> dict[str, str]:
    return {json.loads(row["row"])["trip_id"]: row["rule"] for row in bad}


def _between(**more: object) -> dict[str, dict[str, object]]:
    return {
        "expect_column_values_to_be_between": {
            "column": "distance", "min_value": 1, "max_value": 1000, **more
        }
    }  # fmt: skip


def _rows(far: int, count: int = 10) -> pd.DataFrame:
    rows = tiny.trips(1, count=count)
    rows.loc[: far - 1, "distance"] = 5000
    return rows


@BOTH
def test_each_bad_row_is_named_with_the_first_rule_it_breaks(project: Project, above: int) -> None:
    rows = tiny.trips(1, count=6)
    rows.loc[1, "distance"] = 5000
    rows.loc[3, "city"] = "XXX"
    rows.loc[4, ["city", "distance"]] = ["YYY", 0]
    found, bad = _audit(project, _expecting(project, above), rows)
    assert _rules(bad) == {
        "001-0001": "expect_column_values_to_be_between: distance",
        "001-0003": "expect_column_values_to_be_in_set: city",
        "001-0004": "expect_column_values_to_be_in_set: city",
    }
    assert (found.stops, found.warnings, found.engines) == ((), (), {})
    assert json.loads(found.result)["success"] is False
    assert "<html" in found.page.lower()
    assert "5000" in found.page


@BOTH
def test_a_rule_about_the_whole_partition_stops_it(project: Project, above: int) -> None:
    rule: dict[str, dict[str, object]] = {
        "expect_table_row_count_to_be_between": {"min_value": 100, "max_value": 200}
    }
    found, bad = _audit(project, _expecting(project, above, rule), tiny.trips(1, count=5))
    assert bad == []
    assert found.stops == ("expect_table_row_count_to_be_between (observed 5)",)
    spec = project.catalog.dataset("trips")
    assert "observed 5" in (judge_quarantine(spec, found.stops, 5, {}) or "")


@BOTH
def test_warn_only_says_so(project: Project, above: int) -> None:
    rule: dict[str, dict[str, object]] = {"expect_table_row_count_to_equal": {"value": 7, "severity": "warn"}}
    found, bad = _audit(project, _expecting(project, above, rule, _between(severity="warn")), _rows(far=3))
    assert (bad, found.stops) == ([], ())
    assert found.warnings == (
        "expect_table_row_count_to_equal (observed 10)",
        "expect_column_values_to_be_between: distance (3 of 10 rows)",
    )


@BOTH
def test_stop_on_a_rule_about_rows_stops_the_partition(project: Project, above: int) -> None:
    found, bad = _audit(project, _expecting(project, above, _between(severity="stop")), _rows(far=3))
    assert bad == []
    assert found.stops == ("expect_column_values_to_be_between: distance (3 of 10 rows)",)


@BOTH
@pytest.mark.parametrize(("far", "quarantined"), [(2, 0), (3, 3)])
def test_mostly_touches_no_row_until_it_is_broken(
    project: Project, above: int, far: int, quarantined: int
) -> None:
    found, bad = _audit(project, _expecting(project, above, _between(mostly=0.8)), _rows(far=far))
    assert len(bad) == quarantined
    assert json.loads(found.result)["results"][0]["result"]["unexpected_count"] == far


@BOTH
def test_the_page_shows_what_was_observed(
    project: Project, above: int, capfd: pytest.CaptureFixture[str]
) -> None:
    rule: dict[str, dict[str, object]] = {
        "expect_column_mean_to_be_between": {"column": "distance", "max_value": 6, "severity": "warn"}
    }
    found, _ = _audit(project, _expecting(project, above, rule), _rows(far=10))
    assert "5000" in found.page
    assert "trips, partition 2024-01-01" in found.page
    assert "<td>expect_column_mean_to_be_between: distance</td><td>warn</td>" in found.page
    assert not re.search("https?://", found.page)
    assert "Exception" not in capfd.readouterr().err


def test_quarantine_is_refused_where_no_row_is_judged(project: Project) -> None:
    rule: dict[str, dict[str, object]] = {
        "expect_table_row_count_to_equal": {"value": 7, "severity": "quarantine"}
    }
    with pytest.raises(Rejected, match="judges the partition, not rows: use stop or warn"):
        build_rules(_expecting(project, IN_GX, rule))


def test_what_cannot_be_compiled_runs_in_great_expectations_and_says_so(project: Project) -> None:
    rule: dict[str, dict[str, object]] = {
        "expect_column_values_to_match_regex": {"column": "city", "regex": r"(?=B)BER|MUC|OSL"}
    }
    spec = _expecting(project, IN_DUCKDB, _between(), rule)
    rows = _rows(far=1)
    rows.loc[4, "city"] = "XXX"
    found, bad = _audit(project, spec, rows)
    name = "expect_column_values_to_match_regex: city"
    assert found.engines == {name: "run in Great Expectations: pattern (?=B)BER|MUC|OSL: assert"}
    assert _rules(bad) == {"001-0000": "expect_column_values_to_be_between: distance", "001-0004": name}
    assert json.loads(found.result)["meta"]["engines"] == found.engines


def test_both_engines_quarantine_the_same_rows_and_make_the_same_page(project: Project) -> None:
    rows = _rows(far=4, count=30)
    rows.loc[20:, "city"] = None
    theirs, their_bad = _audit(project, _expecting(project, IN_GX), rows)
    ours, our_bad = _audit(project, _expecting(project, IN_DUCKDB), rows)
    assert our_bad == their_bad
    results = [json.loads(found.result) for found in (ours, theirs)]
    assert results[0]["statistics"] == results[1]["statistics"]
    shown = [item["result"]["partial_unexpected_list"] for item in results[0]["results"]]
    assert shown == [item["result"]["partial_unexpected_list"] for item in results[1]["results"]]


def test_sqls_own_patterns_are_judged_in_partitions_of_any_size(project: Project) -> None:
    rule: dict[str, dict[str, object]] = {
        "expect_column_values_to_match_like_pattern": {"column": "trip_id", "like_pattern": "001-000_"}
    }
    _, bad = _audit(project, _expecting(project, IN_GX, rule), tiny.trips(1, count=12))
    assert set(_rules(bad)) == {"001-0010", "001-0011"}


def test_a_pattern_of_sql_that_cannot_be_judged_is_refused_with_the_reason(project: Project) -> None:
    spec = _expecting(
        project, 1, {"expect_column_values_to_match_like_pattern": {"column": "city", "like_pattern": "B\\"}}
    )
    with pytest.raises(Rejected, match=r"trips.yaml: expectation expect_.*: city: pattern .* ends in its"):
        _audit(project, spec, _rows(0))


@BOTH
def test_a_bound_without_an_offset_means_the_datasets_time_zone(project: Project, above: int) -> None:
    project.edit("datasets/trips.yaml", "partition: day", "partition: day\ntimezone: Europe/Berlin")
    rule: dict[str, dict[str, object]] = {
        "expect_column_values_to_be_between": {"column": "at", "min_value": "2024-01-01"}
    }
    rows = tiny.trips(1, count=2).astype({"at": object})
    rows["at"] = ["2023-12-31T23:00:00Z", "2023-12-31T22:59:59Z"]
    _, bad = _audit(project, _expecting(project, above, rule), rows)
    assert set(_rules(bad)) == {"001-0001"}


@BOTH
def test_a_partition_without_rows_breaks_no_rule_about_rows(project: Project, above: int) -> None:
    found, bad = _audit(project, _expecting(project, above), tiny.trips(1, count=1).iloc[:0])
    assert (bad, found.stops) == ([], ())
    assert judge_quarantine(project.catalog.dataset("trips"), (), 0, {}) is None


@pytest.mark.parametrize(("bad", "stopped"), [(0, False), (50, False), (51, True), (100, True)])
def test_too_great_a_share_of_bad_rows_stops_the_partition(project: Project, bad: int, stopped: bool) -> None:
    why = judge_quarantine(project.catalog.dataset("trips"), (), 100, {"no umlauts": bad})
    assert (why is not None) == stopped
    if why:
        assert f"{bad} of 100 rows" in why
        assert "no umlauts: " in why
        assert "max_share allows 50.0%" in why


def test_an_unknown_expectation_is_rejected_with_the_nearest(project: Project) -> None:
    spec = _expecting(project, IN_GX, {"expect_column_values_to_be_betwen": {"column": "distance"}})
    with pytest.raises(Rejected, match="did you mean 'expect_column_values_to_be_between'"):
        build_rules(spec)


@BOTH
def test_an_expectation_with_bad_arguments_is_rejected(project: Project, above: int) -> None:
    with pytest.raises(Rejected, match=r"trips.yaml: expectation"):
        _audit(project, _expecting(project, above, _between(min_value="x")), tiny.trips(1, count=3))


@BOTH
def test_an_expectation_that_cannot_be_computed_is_rejected(project: Project, above: int) -> None:
    rule: dict[str, dict[str, object]] = {
        "expect_column_values_to_match_regex": {"column": "city", "regex": "("}
    }
    with pytest.raises(Rejected, match="cannot be computed"):
        _audit(project, _expecting(project, above, rule), tiny.trips(1, count=3))


@BOTH
def test_a_rule_about_the_order_takes_a_column_of_any_name(project: Project, above: int) -> None:
    project.edit("datasets/trips.yaml", "  stops: integer", "  stops: integer\n  before: integer")
    spec = _expecting(project, above, {"expect_column_values_to_be_increasing": {"column": "before"}})
    rows = tiny.trips(1, count=4).assign(before=[1, 3, 2, 4])
    _, bad = _audit(project, spec, rows)
    assert [json.loads(row["row"])["before"] for row in bad] == ["2"]
