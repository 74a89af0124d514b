"""Keeps what a connection holds in secret out of what people read."""

from __future__ import annotations

from include.lifecycle.store.connections import Connection

_OPEN = ("endpoint_url", "region_name", "sslmode", "sslrootcert", "sslcert", "sslkey", "options")


def first_line(error: Exception, connection: Connection) -> str:
    """The first line of a library's error, with the connection's secrets masked."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    extra = {key: value for key, value in connection.extra.items() if key not in _OPEN}
    for secret in (connection.password, *extra.values()):
        if isinstance(secret, str) and len(secret) > 3:
            text = text.replace(secret, "***")
    return text
