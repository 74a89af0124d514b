import json

import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from include.lifecycle.data.publishing import published_table, quarantine_table
from include.lifecycle.errors import Rejected
from include.lifecycle.steps import extract, publish, validate
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.receipts import Receipt
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project

ROW = {"city": "BER", "distance": "10", "stops": "1", "express": "true", "delay": "3"}
EMPTY = pd.DataFrame({"trip_id": [], "at": pd.to_datetime([], utc=True)})
FINE = {"delay": ""}
FLAWS = [
    {},
    {},
    FINE,
    {"distance": "far"},
    {"stops": "1.5"},
    {"at": "soon"},
    {"at": ""},
    {"city": "XXX"},
    {"distance": "5000"},
    {"distance": "far", "city": "XXX"},
]
rows_of_a_partition = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 23), st.sampled_from(FLAWS)), min_size=1, max_size=25
).map(
    lambda drawn: pd.DataFrame(
        [
            {"trip_id": f"t{key}", "at": f"2024-01-01 {hour:02}:00:00Z", **ROW, **flaw}
            for key, hour, flaw in drawn
        ]
    )
)


def _ingest(project: Project, rows: pd.DataFrame, partition: str = "2024-01-01") -> tuple[Receipt, Receipt]:
    """Extract, validate and publish one partition; returns the last two receipts."""
    tiny.deliver(project, rows, "trips", partition)
    spec = project.catalog.dataset("trips")
    extracted, _ = run_step(extract.plan(spec, partition, project.store), project.store)
    staged, suppressed = extracted.outputs["staged"], extracted.counts["suppressed"]
    call = validate.plan(spec, partition, staged, suppressed, project.store)
    validated, _ = run_step(call, project.store)
    over = published_table("trips", project.store).publication(partition)
    published, _ = run_step(publish.plan(validated, over, project.store), project.store)
    return validated, published


def _table(project: Project, quarantine: bool = False) -> pd.DataFrame:
    table = (quarantine_table if quarantine else published_table)("trips", project.store).dataset()
    return EMPTY if table is None else table.to_table().to_pandas()


@given(rows=rows_of_a_partition)
@settings(max_examples=12, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_every_row_is_published_quarantined_or_repeated(
    tmp_path_factory: pytest.TempPathFactory, rows: pd.DataFrame
) -> None:
    with pytest.MonkeyPatch.context() as env:
        project = tiny.make_project(tmp_path_factory.mktemp("conservation") / "project", env)
        project.edit("datasets/trips.yaml", "max_share: 0.5", "max_share: 1")
        _, published = _ingest(project, rows)
        counts = published.counts
        good, bad = _table(project), _table(project, quarantine=True)
    assert counts["rows_in"] == len(rows)
    assert counts["rows_in"] == counts["published"] + counts["quarantined"] + counts["repeated"]
    assert (len(good), len(bad)) == (counts["published"], counts["quarantined"])

    fine = rows[[not _is_flawed(row) for _, row in rows.iterrows()]]
    assert counts["quarantined"] == len(rows) - len(fine)
    newest = fine.groupby("trip_id")["at"].max().to_dict()
    published_at = dict(zip(good["trip_id"], good["at"].dt.strftime("%Y-%m-%d %H:%M:%SZ"), strict=True))
    assert published_at == newest


def _is_flawed(row: pd.Series) -> bool:
    return any(flaw.items() <= row.to_dict().items() for flaw in FLAWS if flaw and flaw != FINE)


def test_quarantine_says_row_rule_and_run(project: Project) -> None:
    rows = tiny.trips(1, count=10).astype(object)
    rows.loc[2, "distance"] = "far"
    rows.loc[5, "city"] = "XXX"
    validated, _ = _ingest(project, rows)
    bad = _table(project, quarantine=True)
    assert set(bad["rule"]) == {"type number: distance", "expect_column_values_to_be_in_set: city"}
    assert set(bad["run_key"]) == {validated.run_key}
    written = {row["trip_id"]: row for row in map(json.loads, bad["row"])}
    assert written.keys() == {"001-0002", "001-0005"}
    assert written["001-0002"]["distance"] == "far"


def test_a_partition_with_too_many_bad_rows_is_not_published_but_quarantined(project: Project) -> None:
    _ingest(project, tiny.trips(1, count=10))
    bad = tiny.trips(1, count=10).assign(city="XXX")
    with pytest.raises(Rejected, match=r"not published: 10 of 10 rows \(100.0%\) break a rule"):
        _ingest(project, bad)
    assert set(_table(project)["city"]) <= set(tiny.CITIES)
    assert len(_table(project, quarantine=True)) == 10


def test_a_mended_source_empties_the_partitions_quarantine(project: Project) -> None:
    rows = tiny.trips(1, count=10)
    _ingest(project, rows.assign(city=["XXX", *rows["city"][1:]]))
    assert len(_table(project, quarantine=True)) == 1
    _ingest(project, rows)
    assert len(_table(project, quarantine=True)) == 0
    assert len(_table(project)) == 10


def test_the_same_rows_delivered_again_make_no_commit(project: Project) -> None:
    rows = tiny.trips(1, count=20)
    _, first = _ingest(project, rows)
    _, second = _ingest(project, rows.sample(frac=1, random_state=1))
    assert first.results["version"] == second.results["version"]
    assert second.results["changed"] is False
    assert published_table("trips", project.store).version() == first.results["version"]


def test_a_corrected_partition_replaces_the_old_one_and_back_again(project: Project) -> None:
    rows = tiny.trips(1, count=5)
    _ingest(project, rows)
    _ingest(project, rows.assign(distance=77.0))
    assert set(_table(project)["distance"]) == {77.0}
    _ingest(project, rows)
    assert set(_table(project)["distance"]) == set(rows["distance"])
