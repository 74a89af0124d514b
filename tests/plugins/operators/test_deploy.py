import pytest
from airflow.sdk.exceptions import AirflowSkipException
from mlops.operators.deploy import DeployOperator

from tests.plugins.contexts import context_of


@pytest.mark.usefixtures("project")
def test_where_the_profile_has_no_server_nothing_is_deployed() -> None:
    with pytest.raises(AirflowSkipException, match="nothing is deployed"):
        DeployOperator(task_id="deploy").execute(context_of(dag_id="perennial.deploy"))
