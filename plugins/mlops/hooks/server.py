"""The model server, from the connection `perennial_server`."""

from __future__ import annotations

import httpx
from airflow.sdk import BaseHook


class ServerHook(BaseHook):
    """The server's HTTP interface."""

    def __init__(self, conn_id: str = "perennial_server") -> None:
        super().__init__()
        self.conn_id = conn_id

    def get_conn(self) -> httpx.Client:
        """An HTTP client whose base URL is the server's."""
        return httpx.Client(base_url=self.url, timeout=10)

    @property
    def url(self) -> str:
        """Where the server listens."""
        connection = self.get_connection(self.conn_id)
        return f"{connection.schema or 'http'}://{connection.host}:{connection.port or 8000}"

    def champion(self, model: str) -> str | None:
        """The version that the server answers with, or None while it answers with none."""
        with self.get_conn() as client:
            reply = client.get(f"/v2/models/{model}")
        versions = reply.json().get("versions") if reply.is_success else None
        return str(versions[0]) if versions else None
