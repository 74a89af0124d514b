"""`tables.maintain`, and `<dataset>.erase` for each dataset whose rows are about people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param, get_parsing_context
from mlops.documentation import MAINTENANCE, describe_erase
from mlops.operators.tables import EraseOperator, MaintainOperator
from mlops.retrying import RETRYING

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.spec.dataset import DatasetSpec


def common(owner: str) -> dict[str, Any]:
    """What the DAGs here share."""
    return {
        "catchup": False,
        "max_active_runs": 1,
        "default_args": {"owner": owner, **RETRYING},
    }


def required(title: str, description: str) -> Param:
    """A text that must be filled in."""
    return Param(type="string", minLength=1, title=title, description=description)


def erase(spec: DatasetSpec, column: str) -> DAG:
    """The DAG that removes a person's rows."""
    with DAG(
        f"{spec.name}.erase",
        description=f"Removes a person's rows of {spec.name}, for good",
        doc_md=describe_erase(spec),
        schedule=None,
        tags={"erase", *spec.tags},
        params={
            "secret_subject": required("Person", f"The value of {column} as the source writes it."),
            "reason": required("Reason", "Why, for the report; it must not name the person."),
        },
        **common(spec.owner),
    ) as dag:
        EraseOperator(
            task_id="erase",
            dataset=spec.name,
            doc_md="Takes the person's rows out of tables, versions, kept outputs and logs; marks models.",
        )
    return dag


def maintain() -> DAG:
    """The DAG that keeps all tables small and quick."""
    with DAG(
        "tables.maintain",
        description="Compacts and vacuums all tables; ends what expired in quarantine",
        doc_md=MAINTENANCE,
        schedule=CronTriggerTimetable("0 4 * * SUN", timezone="UTC"),
        start_date=datetime.fromisoformat("2024-01-01T00:00:00Z"),
        tags={"maintain"},
        **common("data"),
    ) as dag:
        MaintainOperator(
            task_id="maintain",
            doc_md="Keeps each data version that a registered, not archived, model was trained on.",
        )
    return dag


catalog = open_catalog()
wanted = get_parsing_context().dag_id
if wanted in (None, "tables.maintain"):
    tables_maintain = maintain()
for name in catalog.dataset_names():
    if wanted in (None, f"{name}.erase"):
        try:
            spec = catalog.dataset(name)
        except SpecError:
            continue  # dags/broken_specs.py shows it
        if spec.privacy is not None and spec.privacy.subject is not None:
            globals()[f"{name}_erase"] = erase(spec, spec.privacy.subject)
