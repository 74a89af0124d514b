"""The HTTP side: what there is beside predictions, and errors; everything else is in `answering`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from include.serving import health
from include.serving.answering import Answering
from include.serving.loader import Models
from include.serving.metrics import Metrics
from include.serving.openapi import DescribedApp
from include.serving.prediction_log import PredictionLog
from include.serving.predictions import Predictions
from include.serving.refusals import Forbidden, NotReady, Refused
from include.serving.replies import failure, json_response, refusal

_FLUSH_SECONDS = 30.0
_LOCAL = ("127.0.0.1", "::1")


def create_app(answering: Answering, models: Models, log: PredictionLog, metrics: Metrics) -> FastAPI:
    """The application; starts and stops nothing."""
    app = DescribedApp(title="Perennial model server", redoc_url=None)
    app.add_middleware(Predictions, answering=answering)
    _add_admin(app, log, metrics)
    health.add_routes(app, models, answering)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Refused, _refusal)
    app.add_exception_handler(Exception, _internal_error(answering))
    return app


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


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refusal(error, request.headers.get("x-request-id", ""))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"{request.method} {request.url.path}: {error.detail}; this server's routes are listed at /docs"
    return json_response({"error": text}, error.status_code, dict(error.headers or {}))


def _internal_error(answering: Answering) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        answering.count_failure()
        return failure()

    return answer
