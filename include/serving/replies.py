"""JSON replies without FastAPI's own encoder, which is slow and not needed for plain values."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from include.serving.refusals import Refused

REQUEST_ID = re.compile(r"[!-~]{1,200}")
"""What a caller may call a request."""
encode = msgspec.json.Encoder().encode


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A reply of plain values."""
    return Response(encode(content), status, headers, "application/json")


def refusal(refused: Refused, request_id: str) -> Response:
    """The reply to a request without an answer, under the id that its caller gave."""
    headers = {"X-Request-Id": request_id if REQUEST_ID.fullmatch(request_id) else uuid.uuid4().hex}
    if refused.status == 503:
        headers["Retry-After"] = "1"
    return json_response({"error": str(refused)}, refused.status, {**headers, **refused.headers})


def failure() -> Response:
    """The reply to a request that the server failed on."""
    return json_response({"error": "the server failed on this request; its log says why"}, 500)
