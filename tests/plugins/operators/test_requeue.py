from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from mlops.operators.ingest import ExtractOperator, PublishOperator, ValidateOperator
from mlops.operators.requeue import RevalidateOperator, SelectQuarantinedOperator

from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project
from tests.plugins.contexts import context_of, day_of

DATASET = Asset("trips", uri="perennial://dataset/trips")
BROKEN = ("value_set: [BER, MUC, OSL]", "value_set: [BER, MUC]")


@pytest.fixture
def quarantined(project: Project) -> Project:
    """A day with rows in quarantine, which a rule forbade by mistake."""
    project.edit("datasets/trips.yaml", *BROKEN)
    tiny.deliver(project, tiny.trips(3), "trips", "2024-01-03")
    extracted = ExtractOperator(task_id="extract", dataset="trips").execute(day_of(3))
    validated = ValidateOperator(task_id="validate", extracted=extracted).execute(day_of(3))
    PublishOperator(task_id="publish", dataset="trips", validated=validated).execute(day_of(3))
    return project


def _context(**asked: str) -> dict[str, Any]:
    return context_of(dag_id="trips.requeue", **{"rule": None, **asked})


def _select(**asked: str) -> list[dict[str, Any]]:
    select = SelectQuarantinedOperator(task_id="select", dataset="trips")
    found: list[dict[str, Any]] = select.execute(_context(**asked))
    return found


def test_a_mended_rule_brings_the_rows_back_and_tells_the_assets_readers(quarantined: Project) -> None:
    quarantined.edit("datasets/trips.yaml", *reversed(BROKEN))
    (found,) = _select()
    context = _context()
    validated = RevalidateOperator(task_id="validate", dataset="trips", found=found).execute(context)
    publish = PublishOperator(task_id="publish", dataset="trips", validated=validated, outlets=[DATASET])
    published = publish.execute(context)
    assert (published["counts"]["published"], published["counts"]["quarantined"]) == (60, 0)
    extra = context["outlet_events"][DATASET].extra
    assert extra == {"table_version": published["version"], "partition": "2024-01-03"}
    with pytest.raises(AirflowSkipException, match="trips: no row is in quarantine"):
        _select()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"partition": "2024-01-04"}, "no row of 2024-01-04 is in quarantine"),
        (
            {"rule": "expect_column_values_to_not_be_null"},
            "no row is in quarantine that breaks 'expect_column_values_to_not_be_null'",
        ),
    ],
)
def test_where_nothing_waits_the_run_is_skipped_and_the_log_says_why(
    quarantined: Project, capsys: pytest.CaptureFixture[str], asked: dict[str, str], sentence: str
) -> None:
    with pytest.raises(AirflowSkipException, match=sentence):
        _select(**asked)
    assert capsys.readouterr().out.count(f"skipped: trips: {sentence}") == 1


def test_a_rule_that_is_no_name_fails_without_a_retry(quarantined: Project) -> None:
    with pytest.raises(AirflowFailException, match="did you mean 'expect_column_values_to_be_in_set: city'"):
        _select(rule="expect_column_values_to_be_in_set: citi")


def test_a_partition_that_is_no_name_fails_without_a_retry(quarantined: Project) -> None:
    with pytest.raises(AirflowFailException, match="is written like 2013-01-31"):
        _select(partition="tomorrow")
