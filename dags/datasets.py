"""One `<dataset>.ingest` DAG for each include/datasets/*.yaml.

extract → validate → publish: write, audit, publish one partition. Airflow's `dag_id` of the run
being started limits the work to that one dataset.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param, get_parsing_context
from mlops.documentation import describe_dataset
from mlops.operators.ingest import ExtractOperator, PublishOperator, ValidateOperator

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.errors import SpecError
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.spec.dataset import DatasetSpec


def ingest(spec: DatasetSpec) -> DAG:
    """The DAG that ingests one partition of a dataset per run."""
    end, zone = spec.schedule.end, ZoneInfo(spec.timezone)
    with DAG(
        f"{spec.name}.ingest",
        description=spec.description,
        doc_md=describe_dataset(spec),
        schedule=CronDataIntervalTimetable(calendar_of(spec).cron, timezone=spec.timezone),
        start_date=datetime.combine(spec.schedule.start, time(), zone),
        end_date=datetime.combine(end, time(), zone) if end else None,
        catchup=False,
        max_active_runs=4,
        default_args={"owner": spec.owner, "retries": 2, "retry_delay": timedelta(seconds=10)},
        tags={"ingest", *spec.tags},
        params={
            "partition": Param(
                None,
                type=["null", "string"],
                title="Partition",
                description=f"The {spec.partition} to ingest, such as 2013-01-31; "
                "empty: the run's data interval, or the last full one.",
            )
        },
    ) as dag:
        extract = ExtractOperator(
            task_id="extract", dataset=spec.name, doc_md="Reads the source's files into staging, as text."
        )
        validate = ValidateOperator(
            task_id="validate",
            extracted=extract.output,
            doc_md="Audits exactly this partition with Great Expectations; parts bad rows from good.",
        )
        PublishOperator(
            task_id="publish",
            dataset=spec.name,
            validated=validate.output,
            outlets=[Asset(spec.name, uri=f"perennial://dataset/{spec.name}")],
            doc_md="Replaces the partition in one commit; bad rows go to quarantine with their rule.",
        )
    return dag


catalog = open_catalog()
wanted = get_parsing_context().dag_id
for name in catalog.dataset_names():
    if wanted in (None, f"{name}.ingest"):
        try:
            globals()[f"{name}_ingest"] = ingest(catalog.dataset(name))
        except SpecError:
            continue  # dags/broken_specs.py shows it
