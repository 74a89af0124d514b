"""`perennial.deploy`: by hand, the model server in the cluster becomes what the profile says."""

from __future__ import annotations

from airflow.sdk import DAG, Param
from mlops.documentation import DEPLOYING
from mlops.operators.deploy import DeployOperator
from mlops.retrying import RETRYING

with DAG(
    "perennial.deploy",
    description="Deploys the model server to the cluster, and tells what changes",
    doc_md=DEPLOYING,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags={"deploy"},
    default_args={"owner": "perennial", **RETRYING},
    params={
        "dry_run": Param(
            None,
            type=["null", "boolean"],
            title="Dry run",
            description="Only tell, in the task's log, what would change; empty: do it.",
        )
    },
):
    DeployOperator(task_id="deploy", doc_md="Applies the server's objects; its log has what differs.")
