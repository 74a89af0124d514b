"""What may be sent to the server and what comes back? The OpenAPI of its routes, also of those of raw bodies.

The bodies' schemas are those of the types that decode them.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI

from include.serving.inference_v2 import InferenceRequest
from include.serving.invocations import FORMS, Invocation

Json = dict[str, Any]


class Error(msgspec.Struct):
    """Why a request was not answered, which field or setting is meant, and what to do."""

    error: str


class Predictions(msgspec.Struct):
    """The answer in MLflow's protocol: one probability of the positive class for each row, in order."""

    predictions: list[float]
    model: str
    version: str
    request_id: str


class Output(msgspec.Struct):
    """The one output of a model, a probability of the positive class for each row."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class InferenceReply(msgspec.Struct):
    """The answer in the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str
    outputs: list[Output]


_REFUSALS = {
    "400": "the request is malformed, or a value is not what the model takes; `error` names the field",
    "401": "no key of this server was sent, and it asks for one",
    "403": "only callers on the server's own machine may ask for that",
    "404": "no such model, version or route",
    "413": "the body is over the limit",
    "415": "a content type or encoding that is not read here",
    "429": "asked more often than the server's rate; Retry-After says how many seconds to wait",
    "500": "the model's own code failed on these rows",
    "503": "nothing can answer yet, or too many ask at once and Retry-After says when to ask again",
}
_OF_PREDICTIONS = ("400", "401", "404", "413", "415", "429", "500", "503")
_OF_OTHERS = ("401", "403", "404", "429", "503")
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class DescribedApp(FastAPI):
    """An application whose /docs and /openapi.json say what it really takes and gives."""

    def openapi(self) -> Json:
        """The OpenAPI document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            _describe(document)
        assert self.openapi_schema is not None
        return self.openapi_schema


def _describe(document: Json) -> None:
    types = (Invocation, InferenceRequest, Predictions, InferenceReply, Error)
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemas["Invocation"]["oneOf"] = [{"required": [form]} for form in FORMS]
    # A server without keys takes calls without one.
    document["security"] = [{}, *({name: []} for name in _SECURITY)]
    document["components"] = {"schemas": schemas, "securitySchemes": _SECURITY}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            operation["responses"] = {"200": operation["responses"]["200"], **_refusals(_OF_OTHERS)}
            if path.endswith(("/health/ready", "/ping")):
                operation["responses"]["503"] = {"description": "not every model answers yet"}
    document["paths"]["/metrics"]["get"]["responses"]["200"]["content"] = {"text/plain": {}}
    chosen = [_parameter("query", "model"), _parameter("header", "X-Model")]
    document["paths"] |= {
        "/invocations": _prediction("Invocation", "Predictions", chosen),
        "/models/{name}/invocations": _prediction("Invocation", "Predictions", [_parameter("path", "name")]),
        "/v2/models/{name}/infer": _prediction(
            "InferenceRequest", "InferenceReply", [_parameter("path", "name")]
        ),
        "/v2/models/{name}/versions/{version}/infer": _prediction(
            "InferenceRequest", "InferenceReply", [_parameter("path", "name"), _parameter("path", "version")]
        ),
    }


def _prediction(request: str, reply: str, parameters: list[Json]) -> Json:
    return {
        "post": {
            "summary": {"Invocation": "MLflow's protocol", "InferenceRequest": "Open Inference Protocol"}[
                request
            ],
            "parameters": [*parameters, _parameter("header", "X-Request-Id")],
            "requestBody": {"required": True, "content": _content(request)},
            "responses": {
                "200": {"description": "the prediction, logged", "content": _content(reply)},
                **_refusals(_OF_PREDICTIONS),
            },
        }
    }


def _parameter(place: str, name: str) -> Json:
    schema: Json = {"type": "string"}
    if name == "X-Request-Id":
        schema |= {"minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _refusals(statuses: tuple[str, ...]) -> Json:
    return {status: {"description": _REFUSALS[status], "content": _content("Error")} for status in statuses}


def _content(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
