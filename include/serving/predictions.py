"""The routes that predict, straight on ASGI: FastAPI's way to a function takes longer than an answer.

They stand before the application, which answers all else; `openapi` describes them. Most requests do not
come here: `at_once` answers the short ones where they are read.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from include.serving.answering import Answering, Reply
from include.serving.head import (
    BULK_BODY,
    MAX_BODY,
    Headers,
    Target,
    announced,
    completed,
    given_id,
    target_of,
    too_large,
)
from include.serving.refusals import NotAllowed, Refused
from include.serving.replies import refusal
from include.serving.room import Room


class Predictions:
    """Answers the routes that predict, and hands everything else on to `app`."""

    def __init__(self, app: ASGIApp, answering: Answering) -> None:
        self._app, self._answering = app, answering
        self._bulk, self._room = ThreadPoolExecutor(1, thread_name_prefix="bulk"), Room()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or hand on."""
        target = target_of(scope["path"], scope["query_string"]) if scope["type"] == "http" else None
        if target is None:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            if scope["method"] != "POST":
                raise NotAllowed(f"{scope['method']} {scope['path']}: Method Not Allowed; send a POST")
            reply = await self._reply(completed(target, headers), headers, receive)
        except ClientDisconnect:
            return  # before its body was whole: nobody listens
        except Refused as refused:
            given = headers.get(b"x-request-id", b"").decode("latin-1")
            await refusal(refused, given)(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 200, "headers": reply.headers})
            await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, target: Target, headers: Headers, receive: Receive) -> Reply:
        with ExitStack() as stack:
            try:
                request_id = given_id(headers)
                size = announced(headers)
                if size >= BULK_BODY:
                    stack.enter_context(self._room.taken(size))
                body = await _body(receive)
            except Refused as refused:
                self._answering.count_refusal(target.model, refused)
                raise
            if len(body) < BULK_BODY:
                return self._answering.reply(target, body, request_id)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._bulk, self._answering.reply, target, body, request_id)


async def _body(receive: Receive) -> bytes:
    chunks, size, is_more = [], 0, True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, is_more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > MAX_BODY:
            raise too_large()
        chunks.append(chunk)
    return b"".join(chunks)
