"""`perennial.clean`: what was left behind goes."""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable
from mlops.documentation import CLEANING
from mlops.operators.clean import CleanClusterOperator, CleanStoreOperator
from mlops.retrying import RETRYING

with DAG(
    "perennial.clean",
    description="Removes what killed processes, lost pods and given up tasks left behind",
    doc_md=CLEANING,
    schedule=CronTriggerTimetable("17 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags={"clean"},
    default_args={"owner": "data", **RETRYING},
) as clean:
    CleanClusterOperator(
        task_id="cluster",
        doc_md="Deletes pods, Jobs and Services of steps that no task waits for; a task keeps its own.",
    )
    CleanStoreOperator(
        task_id="store",
        doc_md="Removes outputs that nothing names, stale checkpoints, scratch folders of dead processes.",
    )
