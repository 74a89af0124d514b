"""`<model>.score` for each include/models/*.yaml: a table of scores, span by span.

Airflow's `dag_id` of the run being started limits the work to that one model.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param, get_parsing_context
from mlops.assets import scored
from mlops.documentation import describe_score
from mlops.operators.score import ScoreOperator
from mlops.retrying import RETRYING
from mlops.timetable import SpanTimetable

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.errors import SpecError
from include.lifecycle.spec.catalog import open_catalog
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.model import ModelSpec


def intervals(model: ModelSpec, rows: DatasetSpec) -> SpanTimetable:
    """The model's own; without one those of the partitions, for backfills, of which none is ever due."""
    span = rows.schedule
    if model.scoring.schedule:
        return SpanTimetable(model.scoring.schedule, "UTC", span.start, span.end)
    return SpanTimetable(calendar_of(rows).cron, rows.timezone, span.start, span.start - timedelta(days=1))


def field(title: str, description: str, **form: str) -> Param:
    """A field that may stay empty."""
    return Param(None, type=["null", "string"], title=title, description=description, **form)


def score(model: ModelSpec, rows: DatasetSpec) -> DAG:
    """By hand, by a backfill, or by its own schedule: from published rows to a table of scores."""
    grain = rows.partition
    with DAG(
        f"{model.name}.score",
        description=f"Scores a table of {model.rows} with a version of {model.name}",
        doc_md=describe_score(model),
        schedule=intervals(model, rows),
        catchup=False,
        max_active_runs=1,
        tags={"score", *model.tags},
        default_args={"owner": model.owner, **RETRYING},
        params={
            "version": field("Version", "The version that scores; empty: the champion."),
            "start": field(
                "Start",
                f"Score each {grain} that ends after this moment. Without start and end a run by hand scores "
                f"the newest {grain}, and any other those of its data interval.",
                format="date-time",
            ),
            "end": field(
                "End",
                f"Score each {grain} that ends by this moment; empty: all until now.",
                format="date-time",
            ),
        },
    ) as dag:
        ScoreOperator(
            task_id="score",
            model=model.name,
            compute=model.compute.get("score"),
            outlets=[scored(model)],
            doc_md="Joins as training does, scores batch by batch, replaces the span in one commit.",
        )
    return dag


catalog = open_catalog()
wanted = get_parsing_context().dag_id
for name in catalog.model_names():
    if wanted in (None, f"{name}.score"):
        try:
            spec = catalog.model(name)
        except SpecError:
            continue  # dags/broken_specs.py shows it
        globals()[f"{name}_score"] = score(spec, catalog.dataset(spec.rows))
