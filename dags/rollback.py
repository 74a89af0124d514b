"""`perennial.rollback`: by hand, a model's users get a version again that they had before."""

from __future__ import annotations

from airflow.sdk import DAG, Param
from mlops.documentation import describe_rollback
from mlops.operators.release import AwaitServerOperator, RollBackOperator
from mlops.retrying import RETRYING

from include.lifecycle.spec.catalog import open_catalog

models = open_catalog().model_names()
if models:
    with DAG(
        "perennial.rollback",
        description="Registry and traffic go back to an earlier version together",
        schedule=None,
        catchup=False,
        is_paused_upon_creation=False,
        doc_md=describe_rollback(),
        tags={"rollback"},
        default_args={"owner": "perennial", **RETRYING},
        params={
            "model": Param(type="string", enum=models, title="Model"),
            "version": Param(
                None,
                type=["null", "string"],
                title="Version",
                description="A version that was champion; empty: the one before the champion of now.",
            ),
            "reason": Param(
                type="string", minLength=4, title="Reason", description="Kept in the ledger, with your name."
            ),
        },
    ):
        rolled_back = RollBackOperator(
            task_id="roll_back",
            model="{{ params.model }}",
            doc_md="Writes the decision; release document, then MLflow's aliases follow it.",
        )
        rolled_back >> AwaitServerOperator(
            task_id="await_server",
            model="{{ params.model }}",
            doc_md="Waits until the server answers with the version.",
        )
