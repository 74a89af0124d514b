"""Is the server up, what does it serve, and does it follow the releases? (Open Inference Protocol)"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response

from include.serving import inference_v2
from include.serving.answering import Answering
from include.serving.loader import Models
from include.serving.replies import json_response
from include.serving.served import Followed, Served


def add_routes(app: FastAPI, models: Models, answering: Answering) -> None:
    """Add the server's and the models' metadata and health."""
    _add_server(app, models)
    _add_models(app, answering)


def _add_server(app: FastAPI, models: Models) -> None:
    @app.get("/v2")
    async def server() -> Response:
        """Name and abilities of the server, and the models it serves."""
        names = list(models.followed)
        return json_response({"name": "perennial", "version": "1", "extensions": [], "models": names})

    @app.get("/v2/health/live")
    async def live() -> Response:
        """200 while the process answers."""
        return json_response({"live": True})

    @app.get("/v2/health/ready")
    @app.get("/ping")
    async def ready() -> Response:
        """200 once releases were read, and every model that has a champion then can answer with it."""
        waiting = [state.model for state in models.followed.values() if state.waits]
        content = {"ready": models.ready, "waiting": waiting, "trouble": models.store_trouble}
        return json_response(content, 200 if models.ready else 503)


def _add_models(app: FastAPI, answering: Answering) -> None:
    @app.get("/v2/models/{name}")
    @app.get("/v2/models/{name}/versions/{version}")
    async def metadata(name: str, version: str | None = None) -> Response:
        """Inputs and outputs of a model, its versions, and whether the newest release is followed."""
        followed, served = answering.chosen(name, version)
        return json_response(
            {
                "name": name,
                "versions": [each.release.version for each in followed.versions],
                "platform": f"perennial_{served.predictor.library}",
                "inputs": inference_v2.tensors(served.predictor),
                "outputs": [{"name": inference_v2.OUTPUT, "datatype": "FP64", "shape": [-1]}],
                "parameters": _parameters(followed, served),
            }
        )

    @app.get("/v2/models/{name}/ready")
    @app.get("/v2/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str | None = None) -> Response:
        """200 when a version answers; `trouble` says why the newest release is not followed."""
        followed, served = answering.chosen(name, version)
        return json_response({"name": name, "ready": True, **_parameters(followed, served)})

    @app.get("/v2/models/{name}/counts")
    async def counts(name: str) -> Response:
        """What this process counted of champion and candidate; 404 while there is no candidate."""
        return Response(answering.counts(name).model_dump_json(), media_type="application/json")


def _parameters(followed: Followed, served: Served) -> dict[str, Any]:
    candidate = followed.candidate
    return {
        "version": served.release.version,
        "as_of": served.release.as_of,
        "run_key": served.release.run_key,
        "candidate": candidate.served.release.version if candidate else None,
        "share": candidate.share if candidate else 0,
        "seq": followed.seq,
        "trouble": followed.trouble,
    }
