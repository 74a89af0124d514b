"""The HTTP side: routes, request ids, sizes and errors; everything else is in `answering`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from include.serving import health
from include.serving.answering import Answering, Reply, new_request_id
from include.serving.copies import Copies
from include.serving.loader import Models
from include.serving.metrics import Metrics
from include.serving.openapi import DescribedApp
from include.serving.prediction_log import PredictionLog
from include.serving.refusals import Forbidden, NotReady, Refused, TooLarge, Unsupported
from include.serving.replies import json_response
from include.serving.room import Room

MAX_BODY = 10 << 20
# A bigger body is decoded, predicted and logged on a thread, so that the others do not wait for it.
_BULK_BODY = 64 << 10
_FLUSH_SECONDS = 30.0
_REQUEST_ID = re.compile(r"[!-~]{1,200}")
_LOCAL = ("127.0.0.1", "::1")

Work = Callable[[bytes, str | None], Reply]


def create_app(models: Models, log: PredictionLog, metrics: Metrics, copies: Copies) -> FastAPI:
    """The application; starts and stops nothing."""
    app = DescribedApp(title="Perennial model server", redoc_url=None)
    answering = Answering(models, log, metrics, copies)
    _add_predictions(app, answering)
    _add_admin(app, log, metrics)
    health.add_routes(app, models, answering)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Refused, _refusal)
    app.add_exception_handler(ClientDisconnect, _nobody_listens)
    app.add_exception_handler(Exception, _internal_error(metrics))
    return app


def _add_predictions(app: FastAPI, answering: Answering) -> None:
    bulk, room = ThreadPoolExecutor(1, thread_name_prefix="bulk"), Room()

    async def respond(request: Request, model: str | None, work: Work) -> Response:
        with ExitStack() as stack:
            try:
                request_id = _given_id(request)
                size = _announced(request)
                if size >= _BULK_BODY:
                    stack.enter_context(room.taken(size))
                body = await _body(request)
            except Refused as refused:
                answering.count_refusal(model, refused)
                raise
            if len(body) < _BULK_BODY:
                return _response(work(body, request_id))
            loop = asyncio.get_running_loop()
            return _response(await loop.run_in_executor(bulk, work, body, request_id))

    @app.post("/invocations")
    @app.post("/models/{name}/invocations")
    async def invocations(request: Request, name: str | None = None) -> Response:
        """MLflow's protocol: dataframe_split, dataframe_records, inputs or instances."""
        model = name or request.query_params.get("model") or request.headers.get("x-model")

        def work(body: bytes, request_id: str | None) -> Reply:
            return answering.invocations(body, model, request_id or new_request_id())

        return await respond(request, model, work)

    @app.post("/v2/models/{name}/infer")
    @app.post("/v2/models/{name}/versions/{version}/infer")
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        """The Open Inference Protocol, version 2, with JSON data."""

        def work(body: bytes, request_id: str | None) -> Reply:
            return answering.infer(body, name, version, request_id)

        return await respond(request, name, work)


def _add_admin(app: FastAPI, log: PredictionLog, metrics: Metrics) -> None:
    @app.get("/metrics")
    async def scrape() -> Response:
        """The server's metrics for Prometheus."""
        return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.post("/admin/flush")
    async def flush(request: Request) -> Response:
        """Return when every prediction acknowledged so far is in Delta; for this machine only."""
        if request.client is None or request.client.host not in _LOCAL:
            raise Forbidden("/admin/flush answers callers on the server's own machine only")
        late = await asyncio.to_thread(log.flush, _FLUSH_SECONDS)
        if late:
            raise NotReady(f"not in Delta after {_FLUSH_SECONDS:g} s, still trying: {', '.join(late)}")
        return json_response({"flushed": True})


def _response(reply: Reply) -> Response:
    headers = {
        "X-Model": reply.served.model,
        "X-Model-Version": reply.served.release.version,
        "X-Request-Id": reply.request_id,
    }
    return Response(reply.body, 200, headers, "application/json")


def _given_id(request: Request) -> str | None:
    given = request.headers.get("x-request-id")
    if given is not None and not _REQUEST_ID.fullmatch(given):
        raise Refused("X-Request-Id: use 1 to 200 visible ASCII characters")
    return given


def _announced(request: Request) -> int:
    """How many bytes a body has at most; raises Refused when it is not read here."""
    _check_format(request)
    size = int(request.headers.get("content-length", MAX_BODY))
    if size > MAX_BODY:
        raise _too_large()
    return size


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _check_format(request: Request) -> None:
    """Only plain JSON; a caller that says nothing, or a form as curl does, means JSON."""
    headers = request.headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("text/csv", "application/octet-stream", "multipart/form-data"):
        raise Unsupported(f"Content-Type: {kind} is not read here; send application/json")
    if headers.get("content-encoding", "identity") != "identity":
        raise Unsupported("Content-Encoding: compressed bodies are not read here; send plain JSON")
    if "inference-header-content-length" in headers:
        raise Unsupported("Inference-Header-Content-Length: binary tensors are not read; send JSON data")


def _too_large() -> TooLarge:
    return TooLarge(f"body: more than {MAX_BODY >> 20} MB; send fewer rows in each request")


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    request_id = request.headers.get("x-request-id", "")
    headers = {"X-Request-Id": request_id if _REQUEST_ID.fullmatch(request_id) else new_request_id()}
    if error.status == 503:
        headers["Retry-After"] = "1"
    return json_response({"error": str(error)}, error.status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"{request.method} {request.url.path}: {error.detail}; this server's routes are listed at /docs"
    return json_response({"error": text}, error.status_code, dict(error.headers or {}))


async def _nobody_listens(request: Request, error: Exception) -> Response:
    """A caller that went away before its body was whole is no failure of the server."""
    return Response(status_code=400)


def _internal_error(metrics: Metrics) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        metrics.requests.labels("", "", "internal_error").inc()
        return json_response({"error": "the server failed on this request; its log says why"}, 500)

    return answer
