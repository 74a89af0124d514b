"""The model server, from the connection `perennial_server`."""

from __future__ import annotations

import httpx
from airflow.sdk import BaseHook, Connection

CONNECTION = "perennial_server"


class ServerHook(BaseHook):
    """The server's HTTP interface; the connection's password is one of its keys, where it asks for one."""

    def __init__(self, conn_id: str = CONNECTION) -> None:
        super().__init__()
        self.conn_id = conn_id

    def get_conn(self) -> httpx.Client:
        """An HTTP client whose base URL is the server's."""
        connection = self.get_connection(self.conn_id)
        return httpx.Client(base_url=url_of(connection), headers=headers_of(connection), timeout=10)

    def champion(self, model: str) -> str | None:
        """The version that the server answers with, or None while it answers with none."""
        with self.get_conn() as client:
            reply = client.get(f"/v2/models/{model}")
        versions = reply.json().get("versions") if reply.is_success else None
        return str(versions[0]) if versions else None


def url_of(connection: Connection) -> str:
    """Where the server listens."""
    return f"{connection.schema or 'http'}://{connection.host}:{connection.port or 8000}"


def headers_of(connection: Connection) -> dict[str, str]:
    """What the server is sent with each request."""
    return {"Authorization": f"Bearer {connection.password}"} if connection.password else {}
