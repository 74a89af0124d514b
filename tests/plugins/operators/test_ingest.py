from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from mlops.links import ValidationLink
from mlops.operators.ingest import (
    ExtractOperator,
    ListPartitionsOperator,
    PublishOperator,
    ValidateOperator,
    partition_of,
)

from include.lifecycle.data.publishing import published_table
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project, midnight
from tests.plugins.contexts import context_of, day_of

DATASET = Asset("trips", uri="perennial://dataset/trips")


def _ingest(context: dict[str, Any], partition: str | None = None) -> dict[str, Any]:
    """The three tasks of an ingest DAG, one after the other."""
    extracted = ExtractOperator(task_id="extract", dataset="trips", partition=partition).execute(context)
    validated = ValidateOperator(task_id="validate", extracted=extracted).execute(context)
    publish = PublishOperator(task_id="publish", dataset="trips", validated=validated, outlets=[DATASET])
    published: dict[str, Any] = publish.execute(context)
    return published


@pytest.mark.parametrize(
    ("context", "grain", "partition"),
    [
        (day_of(3), "day", "2024-01-03"),
        (day_of(3, partition="2024-01-09"), "day", "2024-01-09"),
        (context_of(run_after=midnight(3) + timedelta(hours=7)), "day", "2024-01-02"),
        (context_of(run_after=midnight(3)), "day", "2024-01-02"),
        (context_of(logical_date=midnight(5), run_after=midnight(9)), "day", "2024-01-04"),
        (context_of(interval=(midnight(5), midnight(5))), "day", "2024-01-04"),
        (context_of(run_after=midnight(3)), "month", "2023-12"),
        (context_of(interval=(midnight(1), midnight(32))), "month", "2024-01"),
        (context_of(run_after=midnight(3) + timedelta(minutes=5)), "hour", "2024-01-02T23"),
    ],
)
def test_a_run_is_about_what_was_asked_its_interval_or_the_last_full_partition(
    project: Project, context: dict[str, Any], grain: str, partition: str
) -> None:
    spec = project.catalog.dataset("trips").model_copy(update={"partition": grain})
    assert partition_of(context, spec) == partition


@pytest.mark.parametrize(
    ("context", "partitions"),
    [
        (day_of(5), ["2024-01-03", "2024-01-04", "2024-01-05"]),
        (day_of(2), ["2024-01-01", "2024-01-02"]),
        (day_of(5, run_type=DagRunType.BACKFILL), ["2024-01-05"]),
        (context_of(run_type=DagRunType.MANUAL, partition="2024-01-05"), ["2024-01-05"]),
        (context_of(run_type=DagRunType.MANUAL, run_after=midnight(6)), ["2024-01-05"]),
    ],
)
def test_a_scheduled_run_looks_back_as_far_as_there_are_partitions_and_one_asked_for_does_not(
    project: Project, context: dict[str, Any], partitions: list[str]
) -> None:
    project.edit("datasets/trips.yaml", "partition: day", "partition: day\nlookback: 2")
    assert ListPartitionsOperator(task_id="partitions", dataset="trips").execute(context) == partitions


def test_rows_that_came_late_are_published_by_the_run_that_looks_back(project: Project) -> None:
    project.edit("datasets/trips.yaml", "partition: day", "partition: day\nlookback: 1")
    tiny.deliver(project, tiny.trips(3), "trips", "2024-01-03")
    _ingest(day_of(3, partition="2024-01-03"))
    tiny.deliver(project, tiny.trips(3, count=65), "trips", "2024-01-03")
    tiny.deliver(project, tiny.trips(4), "trips", "2024-01-04")
    published = {}
    for partition in ListPartitionsOperator(task_id="partitions", dataset="trips").execute(day_of(4)):
        published[partition] = _ingest(day_of(4), partition)["counts"]["published"]
    assert published == {"2024-01-03": 65, "2024-01-04": 60}


def test_columns_that_look_like_personal_data_are_told_in_the_log(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tiny.trips(3).assign(city=[f"someone{number}@example.org" for number in range(60)])
    tiny.deliver(project, rows, "trips", "2024-01-03")
    ExtractOperator(task_id="extract", dataset="trips").execute(day_of(3))
    logged = capsys.readouterr().out
    assert "column city looks like personal data (mail)" in logged
    assert "example.org" not in logged


def test_a_rule_that_only_warns_is_told_in_the_log(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.edit("datasets/trips.yaml", "max_value: 1000}", "max_value: 1000, severity: warn}")
    tiny.deliver(project, tiny.trips(3).assign(distance=2000), "trips", "2024-01-03")
    assert _ingest(day_of(3))["counts"]["published"] == 60
    assert "the audit warns: expect_column_values_to_be_between: distance" in capsys.readouterr().out


def test_a_partition_is_extracted_audited_and_published(project: Project) -> None:
    tiny.deliver(project, tiny.trips(3), "trips", "2024-01-03")
    context = day_of(3)
    published = _ingest(context)
    assert published["partition"] == "2024-01-03"
    counts = {"rows_in": 60, "published": 60, "quarantined": 0, "repeated": 0, "suppressed": 0}
    assert published["counts"] == counts
    assert published_table("trips", project.store).partitions().keys() == {"2024-01-03"}
    extra = context["outlet_events"][DATASET].extra
    assert extra == {"table_version": published["version"], "partition": "2024-01-03"}


def test_a_manual_run_without_a_logical_date_takes_the_last_full_partition(project: Project) -> None:
    tiny.deliver(project, tiny.trips(4), "trips", "2024-01-04")
    published = _ingest(context_of(run_after=midnight(5) + timedelta(hours=9)))
    assert published["partition"] == "2024-01-04"


def test_a_retried_or_backfilled_run_finds_its_work_done(project: Project) -> None:
    tiny.deliver(project, tiny.trips(3), "trips", "2024-01-03")
    first = _ingest(day_of(3))
    assert _ingest(day_of(3))["version"] == first["version"]


def test_the_audit_links_its_page(project: Project) -> None:
    tiny.deliver(project, tiny.trips(3), "trips", "2024-01-03")
    extracted = ExtractOperator(task_id="extract", dataset="trips").execute(day_of(3))
    operator = ValidateOperator(task_id="validate", extracted=extracted)
    validated = operator.execute(day_of(3))
    link = ValidationLink().get_link(operator, ti_key=None)
    assert link == f"/perennial/receipts/{validated['run_key']}/gx_page"


def test_a_partition_that_was_stopped_fails_without_a_retry_and_tells_nobody(project: Project) -> None:
    tiny.deliver(project, tiny.trips(3).assign(city="XXX"), "trips", "2024-01-03")
    context = day_of(3)
    with pytest.raises(AirflowFailException, match="break a rule"):
        _ingest(context)
    assert len(context["outlet_events"]) == 0


def test_a_partition_that_has_not_arrived_fails_without_a_retry(project: Project) -> None:
    with pytest.raises(AirflowFailException, match="has not arrived"):
        _ingest(day_of(3))


def test_a_partition_that_is_no_name_fails_without_a_retry(project: Project) -> None:
    with pytest.raises(AirflowFailException, match="is written like 2013-01-31"):
        _ingest(day_of(3, partition="tomorrow"))


@pytest.mark.parametrize("lookback", [0, 2])
def test_a_backfill_with_one_partition_for_all_its_runs_fails_without_a_retry(
    project: Project, lookback: int
) -> None:
    project.edit("datasets/trips.yaml", "partition: day", f"partition: day\nlookback: {lookback}")
    context = day_of(3, run_type=DagRunType.BACKFILL, partition="2024-01-09")
    listed = ListPartitionsOperator(task_id="partitions", dataset="trips")
    extract = ExtractOperator(task_id="extract", dataset="trips")
    with pytest.raises(AirflowFailException, match="'2024-01-09': leave it empty, or trigger"):
        (listed if lookback else extract).execute(context)


def test_a_store_that_does_not_answer_is_retried(project: Project) -> None:
    tiny.deliver(project, tiny.trips(3), "trips", "2024-01-03")
    (project.root / "store/calls").write_text("a file in the way")
    with pytest.raises(AirflowException) as caught:
        _ingest(day_of(3))
    assert not isinstance(caught.value, AirflowFailException)
