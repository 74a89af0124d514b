"""Is the server up, what does it serve, and does it follow the releases? (Open Inference Protocol)"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response

from include.serving import inference_v2
from include.serving.answering import Answering
from include.serving.loader import Followed, Models, Served
from include.serving.replies import json_response


def add_routes(app: FastAPI, models: Models, answering: Answering) -> None:
    """Add the server's and the models' metadata and health."""
    _add_server(app, models)
    _add_models(app, models, answering)


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
        """200 when releases were read and every model with one can answer."""
        waiting = [state.model for state in models.followed.values() if _waits(state)]
        # A store that is away for a while does not matter once models were loaded.
        trouble = None if models.loaded else models.store_trouble
        is_ready = not waiting and trouble is None
        content = {"ready": is_ready, "waiting": waiting, "trouble": models.store_trouble}
        return json_response(content, 200 if is_ready else 503)


def _waits(state: Followed) -> bool:
    """Whether a model has a release that should answer and cannot."""
    return state.served is None and state.trouble is not None


def _add_models(app: FastAPI, models: Models, answering: Answering) -> None:
    def state(name: str, version: str | None) -> tuple[Served, Followed]:
        return answering.served(name, version), models.followed[name]

    @app.get("/v2/models/{name}")
    @app.get("/v2/models/{name}/versions/{version}")
    async def metadata(name: str, version: str | None = None) -> Response:
        """Inputs and outputs of a model, its version, and whether the newest release is followed."""
        served, followed = state(name, version)
        return json_response(
            {
                "name": name,
                "versions": [served.release.version],
                "platform": f"perennial_{served.predictor.library}",
                "inputs": inference_v2.tensors(served.predictor),
                "outputs": [{"name": inference_v2.OUTPUT, "datatype": "FP64", "shape": [-1]}],
                "parameters": _parameters(served, followed),
            }
        )

    @app.get("/v2/models/{name}/ready")
    @app.get("/v2/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str | None = None) -> Response:
        """200 when a version answers; `trouble` says why the newest release is not followed."""
        served, followed = state(name, version)
        return json_response({"name": name, "ready": True, **_parameters(served, followed)})


def _parameters(served: Served, followed: Followed) -> dict[str, Any]:
    return {
        "version": served.release.version,
        "as_of": served.release.as_of,
        "run_key": served.release.run_key,
        "seq": followed.seq,
        "trouble": followed.trouble,
    }
