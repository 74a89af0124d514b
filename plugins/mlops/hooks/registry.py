"""The MLflow registry, from the connection `perennial_mlflow`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

if TYPE_CHECKING:
    from include.lifecycle.model.registry import Registry


class RegistryHook(BaseHook):
    """MLflow over HTTP."""

    def __init__(self, conn_id: str = "perennial_mlflow") -> None:
        super().__init__()
        self.conn_id = conn_id

    @property
    def url(self) -> str:
        """Where MLflow answers."""
        connection = self.get_connection(self.conn_id)
        return f"{connection.schema or 'http'}://{connection.host}:{connection.port or 5000}"

    def get_conn(self) -> Registry:
        """A client of the registry, which MLflow's own functions use from now on, too."""
        import mlflow

        from include.lifecycle.model.registry import Registry

        mlflow.set_tracking_uri(self.url)
        return Registry()
