import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from mlops.operators.tables import EraseOperator, MaintainOperator

from include.lifecycle.data.publishing import published_table
from tests.lifecycle import tiny
from tests.lifecycle.ingesting import ingest
from tests.lifecycle.tiny import Project
from tests.plugins.contexts import context_of

PRIVATE = "privacy: {key: subjects, subject: city}\nkey: [trip_id]"


pytestmark = pytest.mark.usefixtures("mlflow_connection")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key under which erased people are remembered."""
    monkeypatch.setenv("AIRFLOW_CONN_SUBJECTS", json.dumps({"login": "one", "password": "k" * 40}))


def _ingested(project: Project) -> None:
    tiny.deliver(project, tiny.trips(3), "trips", "2024-01-03")
    ingest(project.catalog.dataset("trips"), "2024-01-03", project.store)


def _erase(subject: str) -> dict[str, Any]:
    context = context_of(
        dag_id="trips.erase", secret_subject=subject, reason="asked for in a letter", user="ada"
    )
    operator = EraseOperator(task_id="erase", dataset="trips")
    report: dict[str, Any] = operator.execute(context)
    return report


def test_a_person_is_erased_and_the_report_does_not_say_who(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.edit("datasets/trips.yaml", "key: [trip_id]", PRIVATE)
    _ingested(project)
    report = _erase("MUC")
    assert report["rows"]["trips"] == (tiny.trips(3)["city"] == "MUC").sum()
    assert (report["actor"], report["reason"]) == ("ada", "asked for in a letter")
    assert "MUC" not in json.dumps(report) + capsys.readouterr().out
    rows: Any = published_table("trips", project.store).dataset()
    assert "MUC" not in rows.to_table()["city"].to_pylist()


def test_a_dataset_that_names_no_subject_fails_without_a_retry(project: Project) -> None:
    with pytest.raises(AirflowFailException, match=r"privacy.subject is missing"):
        _erase("MUC")


def test_all_tables_are_maintained(project: Project) -> None:
    _ingested(project)
    done = MaintainOperator(task_id="maintain").execute(context_of(dag_id="tables.maintain"))
    assert [item["table"] for item in done] == ["trips"]


def test_where_nothing_was_published_there_is_nothing_to_maintain(project: Project) -> None:
    with pytest.raises(AirflowSkipException, match="nothing was published yet"):
        MaintainOperator(task_id="maintain").execute(context_of(dag_id="tables.maintain"))
