"""Airflow's connections, as the lifecycle asks for them."""

from __future__ import annotations

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from include.lifecycle.errors import Rejected
from include.lifecycle.store.connections import Connection


def airflow_connection(name: str) -> Connection:
    """The Airflow Connection of a name; raises Rejected when there is none."""
    try:
        found = BaseHook.get_connection(name)
    except AirflowNotFoundException:
        raise Rejected(f"connection {name!r}: not found; add it under Admin, Connections") from None
    return Connection(
        conn_type=found.conn_type or "",
        host=found.host or "",
        port=found.port,
        login=found.login or "",
        schema=found.schema or "",
        password=found.password or "",
        extra=dict(found.extra_dejson),
    )
