"""The store, from the connection `perennial_store` and the setting PERENNIAL_STORE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

if TYPE_CHECKING:
    from include.lifecycle.store.objects import Store


class StoreHook(BaseHook):
    """Credentials come from the connection; what it leaves empty comes from the environment."""

    def __init__(self, conn_id: str = "perennial_store") -> None:
        super().__init__()
        self.conn_id = conn_id

    def get_conn(self) -> Store:
        """A client of the store."""
        from include.lifecycle.store.objects import open_store

        return open_store(self._options())

    def _options(self) -> dict[str, str]:
        try:
            connection = self.get_connection(self.conn_id)
        except AirflowNotFoundException:
            return {}
        options = {
            "aws_access_key_id": connection.login,
            "aws_secret_access_key": connection.password,
            "aws_endpoint_url": connection.extra_dejson.get("endpoint_url"),
            "aws_region": connection.extra_dejson.get("region_name"),
        }
        return {key: value for key, value in options.items() if value}
