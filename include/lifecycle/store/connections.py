"""Credentials of the outside world: asked for by name when needed, never written anywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from include.lifecycle.errors import Rejected


@dataclass(frozen=True)
class Connection:
    """What Airflow calls a connection; its secrets do not show when it is printed."""

    conn_type: str = ""
    host: str = ""
    port: int | None = None
    login: str = ""
    schema: str = ""
    password: str = field(default="", repr=False)
    extra: dict[str, Any] = field(default_factory=dict, repr=False)


Connections = Callable[[str], Connection]
"""Gives the connection of a name; raises Rejected when there is none."""


def environment_connection(name: str) -> Connection:
    """The connection in AIRFLOW_CONN_<NAME>, as Airflow writes it: JSON or a URI."""
    variable = f"AIRFLOW_CONN_{name.upper()}"
    text = os.environ.get(variable, "")
    if not text:
        raise Rejected(f"connection {name!r}: not found; add it under Admin, Connections or as {variable}")
    try:
        return _from_json(text) if text.lstrip().startswith("{") else _from_uri(text)
    except (ValueError, TypeError):
        raise Rejected(f"connection {name!r}: {variable} is neither JSON nor a URI") from None


def _from_json(text: str) -> Connection:
    found = json.loads(text)
    extra = found.get("extra") or {}
    return Connection(
        conn_type=found.get("conn_type") or "",
        host=found.get("host") or "",
        port=int(found["port"]) if found.get("port") else None,
        login=found.get("login") or "",
        schema=found.get("schema") or "",
        password=found.get("password") or "",
        extra=json.loads(extra) if isinstance(extra, str) else dict(extra),
    )


def _from_uri(text: str) -> Connection:
    parts = urlsplit(text)
    return Connection(
        conn_type=parts.scheme,
        host=unquote(parts.hostname or ""),
        port=parts.port,
        login=unquote(parts.username or ""),
        schema=unquote(parts.path.removeprefix("/")),
        password=unquote(parts.password or ""),
        extra=_extra(dict(parse_qsl(parts.query))),
    )


def _extra(query: dict[str, str]) -> dict[str, Any]:
    """Airflow writes an extra that nests, or is no plain text, as JSON under one name."""
    return dict(json.loads(query["__extra__"])) if "__extra__" in query else dict(query)
