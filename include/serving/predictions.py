"""The routes that predict, straight on ASGI: FastAPI's way to a function takes longer than an answer.

They stand before the application, which answers all else; `openapi` describes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from include.serving.answering import Answering, Reply, new_request_id
from include.serving.refusals import NotAllowed, Refused, TooLarge, Unsupported
from include.serving.replies import REQUEST_ID, refusal
from include.serving.room import Room

MAX_BODY = 10 << 20
# A bigger body is decoded, predicted and logged on a thread, so that the others do not wait for it.
_BULK_BODY = 64 << 10
_NOT_READ = (b"text/csv", b"application/octet-stream", b"multipart/form-data")

Headers = Mapping[bytes, bytes]
Work = Callable[[bytes, str | None], Reply]


class Target(NamedTuple):
    """What a path asks for."""

    protocol: str
    model: str | None = None
    version: str | None = None


class Predictions:
    """Answers the routes that predict, and hands everything else on to `app`."""

    def __init__(self, app: ASGIApp, answering: Answering) -> None:
        self._app, self._answering = app, answering
        self._bulk, self._room = ThreadPoolExecutor(1, thread_name_prefix="bulk"), Room()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or hand on."""
        target = target_of(scope["path"]) if scope["type"] == "http" else None
        if target is None:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            if scope["method"] != "POST":
                raise NotAllowed(f"{scope['method']} {scope['path']}: Method Not Allowed; send a POST")
            reply = await self._reply(target, scope, headers, receive)
        except ClientDisconnect:
            return  # before its body was whole: nobody listens
        except Refused as refused:
            given = headers.get(b"x-request-id", b"").decode("latin-1")
            await refusal(refused, given)(scope, receive, send)
        else:
            await _send(reply, send)

    async def _reply(self, target: Target, scope: Scope, headers: Headers, receive: Receive) -> Reply:
        model = target.model or _named(scope, headers)
        with ExitStack() as stack:
            try:
                request_id = _given_id(headers)
                size = _announced(headers)
                if size >= _BULK_BODY:
                    stack.enter_context(self._room.taken(size))
                body = await _body(receive)
            except Refused as refused:
                self._answering.count_refusal(model, refused)
                raise
            if len(body) < _BULK_BODY:
                return self._answer(target, model, body, request_id)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._bulk, self._answer, target, model, body, request_id)

    def _answer(self, target: Target, model: str | None, body: bytes, request_id: str | None) -> Reply:
        if target.protocol == "infer" and model is not None:
            return self._answering.infer(body, model, target.version, request_id)
        return self._answering.invocations(body, model, request_id or new_request_id())


def target_of(path: str) -> Target | None:
    """What a path asks to be predicted, or None where it asks for something else."""
    match path.split("/"):
        case ["", "invocations" as protocol]:
            return Target(protocol)
        case ["", "models", name, "invocations" as protocol] if name:
            return Target(protocol, name)
        case ["", "v2", "models", name, "infer" as protocol] if name:
            return Target(protocol, name)
        case ["", "v2", "models", name, "versions", version, "infer" as protocol] if name and version:
            return Target(protocol, name, version)
    return None


def _named(scope: Scope, headers: Headers) -> str | None:
    """The model of the query or of a header; None where neither says one."""
    query = parse_qs(scope["query_string"].decode("latin-1")) if scope["query_string"] else {}
    return query.get("model", [headers.get(b"x-model", b"").decode("latin-1")])[-1] or None


def _given_id(headers: Headers) -> str | None:
    given = headers.get(b"x-request-id")
    if given is None:
        return None
    text = given.decode("latin-1")
    if not REQUEST_ID.fullmatch(text):
        raise Refused("X-Request-Id: use 1 to 200 visible ASCII characters")
    return text


def _announced(headers: Headers) -> int:
    """How many bytes a body has at most; raises Refused when it is not read here."""
    _check_format(headers)
    size = int(headers.get(b"content-length", MAX_BODY))
    if size > MAX_BODY:
        raise _too_large()
    return size


async def _body(receive: Receive) -> bytes:
    chunks, size, is_more = [], 0, True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, is_more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > MAX_BODY:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _check_format(headers: Headers) -> None:
    """Only plain JSON; a caller that says nothing, or a form as curl does, means JSON."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind in _NOT_READ:
        raise Unsupported(f"Content-Type: {kind.decode()} is not read here; send application/json")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Unsupported("Content-Encoding: compressed bodies are not read here; send plain JSON")
    if b"inference-header-content-length" in headers:
        raise Unsupported("Inference-Header-Content-Length: binary tensors are not read; send JSON data")


def _too_large() -> TooLarge:
    return TooLarge(f"body: more than {MAX_BODY >> 20} MB; send fewer rows in each request")


async def _send(reply: Reply, send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-model", reply.served.model.encode("latin-1")),
        (b"x-model-version", reply.served.release.version.encode("latin-1")),
        (b"x-request-id", reply.request_id.encode("ascii")),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
