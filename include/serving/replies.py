"""JSON replies without FastAPI's own encoder, which is slow and not needed for plain values."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

encode = msgspec.json.Encoder().encode


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A reply of plain values."""
    return Response(encode(content), status, headers, "application/json")
