"""`<dataset>.ingest` and `<dataset>.requeue` for each include/datasets/*.yaml.

extract → validate → publish: write, audit, publish one partition. Airflow's `dag_id` of the run
being started limits the work to that one dataset.
"""

from __future__ import annotations

from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, Asset, Param, get_parsing_context, task_group
from mlops.documentation import describe_dataset, describe_requeue
from mlops.operators.ingest import (
    ExtractOperator,
    ListPartitionsOperator,
    PublishOperator,
    ValidateOperator,
)
from mlops.operators.requeue import RevalidateOperator, SelectQuarantinedOperator
from mlops.retrying import RETRYING
from mlops.timetable import SpanTimetable

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.errors import SpecError
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.spec.dataset import DatasetSpec


def published(spec: DatasetSpec) -> Asset:
    """Says that a partition of the dataset was published."""
    return Asset(spec.name, uri=f"perennial://dataset/{spec.name}")


def common(spec: DatasetSpec) -> dict[str, Any]:
    """What the DAGs of a dataset share."""
    return {
        "catchup": False,
        "default_args": {"owner": spec.owner, **RETRYING},
    }


def text(title: str, description: str) -> Param:
    """A text that a form may leave empty."""
    return Param(None, type=["null", "string"], title=title, description=description)


def ingest(spec: DatasetSpec) -> DAG:
    """The DAG that ingests one partition of a dataset per run, or several where it looks back."""
    calendar, span = calendar_of(spec), spec.schedule
    first = calendar.holding(datetime.combine(span.start, time(), ZoneInfo(spec.timezone)))
    with DAG(
        f"{spec.name}.ingest",
        description=spec.description,
        doc_md=describe_dataset(spec),
        schedule=SpanTimetable(calendar.cron, spec.timezone, span.start, span.end),
        max_active_runs=4,
        tags={"ingest", *spec.tags},
        params={
            "partition": text(
                "Partition",
                f"The {spec.partition} to ingest, such as {first.name}; empty: the run's data interval, "
                "or the last full one. A backfill takes its runs' intervals: leave it empty there.",
            )
        },
        **common(spec),
    ) as dag:
        if spec.lookback:
            partitions = ListPartitionsOperator(
                task_id="partitions",
                dataset=spec.name,
                doc_md=f"The run's own partition, and the {spec.lookback} before it for late rows.",
            )
            each_partition(spec).expand(partition=partitions.output)
        else:
            ingest_one(spec)
    return dag


def each_partition(spec: DatasetSpec) -> Any:
    """A group of tasks that is mapped over partitions: what stops one of them stops no other."""

    @task_group(group_id="each", prefix_group_id=False, tooltip="Once for each partition")
    def each(partition: Any) -> None:
        ingest_one(spec, partition, named=True)

    return each


def ingest_one(spec: DatasetSpec, partition: Any = None, *, named: bool = False) -> None:
    """The three tasks of one partition; `named` shows its name beside them."""
    extract = ExtractOperator(
        task_id="extract",
        dataset=spec.name,
        partition=partition,
        compute=spec.compute.get("extract"),
        map_index_template="{{ task.partition }}" if named else None,
        doc_md="Reads the partition from its source into staging, as text.",
    )
    validate = ValidateOperator(
        task_id="validate",
        extracted=extract.output,
        compute=spec.compute.get("validate"),
        map_index_template="{{ task.extracted['partition'] }}" if named else None,
        doc_md="Audits exactly this partition with Great Expectations; parts bad rows from good.",
    )
    PublishOperator(
        task_id="publish",
        dataset=spec.name,
        validated=validate.output,
        compute=spec.compute.get("publish"),
        map_index_template="{{ task.validated['partition'] }}" if named else None,
        outlets=[published(spec)],
        doc_md="Replaces the partition in one commit; bad rows go to quarantine with their rule.",
    )


def requeue(spec: DatasetSpec) -> DAG:
    """The DAG that sends quarantined rows back through validation after a rule was mended."""
    with DAG(
        f"{spec.name}.requeue",
        description=f"Sends rows of {spec.name} back from quarantine after a rule was mended",
        doc_md=describe_requeue(spec),
        schedule=None,
        max_active_runs=1,
        tags={"requeue", *spec.tags},
        params={
            "partition": text("Partition", f"The {spec.partition} to send back; empty: all in quarantine."),
            "rule": text(
                "Rule",
                "Only partitions with rows that broke this rule, written as quarantine does, such as "
                "`expect_column_values_to_be_between: distance`, or as the expectation's name alone; "
                "empty: any rule.",
            ),
        },
        **common(spec),
    ) as dag:

        @task_group(group_id="each", prefix_group_id=False, tooltip="Once for each partition")
        def each(found: Any) -> None:
            validate = RevalidateOperator(
                task_id="validate",
                dataset=spec.name,
                found=found,
                compute=spec.compute.get("validate"),
                map_index_template="{{ task.found['partition'] }}",
                doc_md="Audits all rows of the partition again, from what was staged, by today's rules.",
            )
            PublishOperator(
                task_id="publish",
                dataset=spec.name,
                validated=validate.output,
                compute=spec.compute.get("publish"),
                map_index_template="{{ task.validated['partition'] }}",
                outlets=[published(spec)],
                doc_md="Replaces the partition, and its rows in quarantine.",
            )

        select = SelectQuarantinedOperator(
            task_id="select", dataset=spec.name, doc_md="Looks up the partitions with rows in quarantine."
        )
        each.expand(found=select.output)
    return dag


catalog = open_catalog()
wanted = get_parsing_context().dag_id
for name in catalog.dataset_names():
    if wanted in (None, f"{name}.ingest", f"{name}.requeue"):
        try:
            spec = catalog.dataset(name)
        except SpecError:
            continue  # dags/broken_specs.py shows it
        for build in (ingest, requeue):
            globals()[f"{name}_{build.__name__}"] = build(spec)
