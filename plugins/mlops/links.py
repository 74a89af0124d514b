"""Links from a task in Airflow's UI to what it made."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink


class AddressLink(BaseOperatorLink):
    """A link to an address that the operator noted in `addresses` while it ran."""

    @property
    def xcom_key(self) -> str:
        """The XCom that keeps the address for the UI, named after the class."""
        return f"link_{type(self).__name__}"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address; Airflow asks for it when the task ends. Empty where there is none."""
        addresses: dict[type[AddressLink], str] = getattr(operator, "addresses", {})
        return addresses.get(type(self), "")


class ValidationLink(AddressLink):
    """Great Expectations' page of the audit."""

    name = "Great Expectations"


class ReportLink(AddressLink):
    """Evidently's report of the window."""

    name = "Evidently report"


class RunLink(AddressLink):
    """The MLflow run of a training."""

    name = "MLflow run"


class VersionLink(AddressLink):
    """The registered version in MLflow."""

    name = "MLflow version"


LINKS = (ValidationLink, ReportLink, RunLink, VersionLink)


def page_address(run_key: str, output: str) -> str:
    """Where Airflow serves an output of a receipt (see mlops.views.outputs)."""
    return f"/perennial/receipts/{run_key}/{output}"


def run_address(mlflow: str, experiment_id: str, run_id: str) -> str:
    """Where MLflow shows a run."""
    return f"{mlflow}/#/experiments/{experiment_id}/runs/{run_id}"


def version_address(mlflow: str, model: str, version: str) -> str:
    """Where MLflow shows a registered version."""
    return f"{mlflow}/#/models/{model}/versions/{version}"
