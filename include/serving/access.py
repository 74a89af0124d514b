"""Who may ask? Callers with one of the keys; health is open, for those who watch over the process."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from include.lifecycle.errors import Rejected
from include.serving.replies import json_response

KEYS = "PERENNIAL_SERVER_KEYS"
CALLER = "perennial.caller"
"""Where a request's scope says whose key it came with: its hash."""
_OPEN = "open"
_SHORTEST = 16
_HEALTH = ("/ping", "/v2/health/live", "/v2/health/ready")
_REFUSAL = "send a key of this server: Authorization: Bearer <key>, or X-API-Key: <key>"


def keys_of(host: str, environment: Mapping[str, str] = os.environ) -> frozenset[bytes]:
    """Hashes of the keys that callers need; none where anybody may ask.

    Only callers on the server's own machine need none by default. Raises Rejected when the server listens
    for others and nobody said whether they need keys, and for keys that could be guessed.
    """
    told = [key.strip() for key in environment.get(KEYS, "").split(",") if key.strip()]
    if not told and not _is_local(host):
        raise Rejected(
            f"{host}: others reach this address; set {KEYS} to the keys that callers must send, with commas "
            f"between, or to '{_OPEN}' to answer everybody"
        )
    if told == [_OPEN]:
        return frozenset()
    if any(len(key) < _SHORTEST for key in told):
        raise Rejected(f"{KEYS}: a key of fewer than {_SHORTEST} characters can be guessed; use a longer one")
    return frozenset(_digest(key.encode()) for key in told)


class KeyRequired:
    """An application that answers only callers with a key."""

    def __init__(self, app: ASGIApp, keys: frozenset[bytes]) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or answer 401."""
        if scope["type"] != "http" or scope["path"] in _HEALTH:
            await self._app(scope, receive, send)
            return
        if caller := self.caller(dict(scope["headers"])):
            await self._app({**scope, CALLER: caller}, receive, send)
            return
        refusal = json_response({"error": _REFUSAL}, 401, {"WWW-Authenticate": "Bearer"})
        await refusal(scope, receive, send)

    def caller(self, headers: Mapping[bytes, bytes]) -> bytes | None:
        """Whose key a request came with, as its hash; None for no key of ours."""
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        key = token.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        given = _digest(key)
        return given if any(hmac.compare_digest(given, known) for known in self._keys) else None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
