import json

import pandas as pd
import pytest

from include.lifecycle.data.validation import Audit, audit, build_expectations, judge_quarantine
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project


def _expecting(project: Project, *expectations: dict[str, dict[str, object]]) -> DatasetSpec:
    return project.catalog.dataset("trips").model_copy(update={"expectations": expectations})


def test_each_bad_row_is_named_with_the_first_rule_it_breaks(project: Project) -> None:
    rows = tiny.trips(1, count=6)
    rows.loc[1, "distance"] = 5000
    rows.loc[3, "city"] = "XXX"
    rows.loc[4, ["city", "distance"]] = ["YYY", 0]
    found = audit(project.catalog.dataset("trips"), "2024-01-01", rows)
    between = "expect_column_values_to_be_between: distance"
    assert found.rules.dropna().to_dict() == {
        1: between,
        3: "expect_column_values_to_be_in_set: city",
        4: "expect_column_values_to_be_in_set: city",
    }
    assert found.stops == ()
    assert json.loads(found.result)["success"] is False
    assert "<html" in found.page.lower()


def test_rows_keep_their_place_whatever_their_index(project: Project) -> None:
    rows = tiny.trips(1, count=4)
    rows.index = pd.Index([70, 10, 30, 20])
    rows.loc[30, "distance"] = 5000
    assert audit(project.catalog.dataset("trips"), "p", rows).rules.dropna().index.tolist() == [30]


def test_a_rule_about_the_whole_partition_stops_it(project: Project) -> None:
    spec = _expecting(project, {"expect_table_row_count_to_be_between": {"min_value": 100, "max_value": 200}})
    found = audit(spec, "p", tiny.trips(1, count=5))
    assert found.rules.isna().all()
    assert found.stops == ("expect_table_row_count_to_be_between (observed 5)",)
    assert "observed 5" in (judge_quarantine(spec, found, 5, 0) or "")


@pytest.mark.parametrize(("bad", "stopped"), [(0, False), (50, False), (51, True), (100, True)])
def test_too_great_a_share_of_bad_rows_stops_the_partition(project: Project, bad: int, stopped: bool) -> None:
    spec = project.catalog.dataset("trips")
    why = judge_quarantine(spec, Audit(pd.Series(dtype="string"), (), "", ""), 100, bad)
    assert (why is not None) == stopped
    if why:
        assert f"{bad} of 100 rows" in why
        assert "max_share allows 50.0%" in why


def test_an_unknown_expectation_is_rejected_with_the_nearest(project: Project) -> None:
    spec = _expecting(project, {"expect_column_values_to_be_betwen": {"column": "distance"}})
    with pytest.raises(Rejected, match="did you mean 'expect_column_values_to_be_between'"):
        build_expectations(spec)


def test_an_expectation_with_bad_arguments_is_rejected(project: Project) -> None:
    spec = _expecting(
        project,
        {"expect_column_values_to_be_between": {"column": "distance", "min_value": "x", "max_value": 3}},
    )
    with pytest.raises(Rejected, match=r"trips.yaml: expectation"):
        audit(spec, "p", tiny.trips(1, count=3))


def test_an_expectation_that_cannot_be_computed_is_rejected(project: Project) -> None:
    spec = _expecting(project, {"expect_column_values_to_match_regex": {"column": "city", "regex": "("}})
    with pytest.raises(Rejected, match="cannot be computed"):
        audit(spec, "p", tiny.trips(1, count=3))
