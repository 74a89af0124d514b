"""The Open Inference Protocol, version 2: one tensor for each column, JSON data."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from include.lifecycle.model.predictor import BadInput, Predictor

OUTPUT = "score"
_KINDS: dict[str, tuple[type, ...]] = {
    "FP64": (float, int),
    "FP32": (float, int),
    "INT64": (int,),
    "INT32": (int,),
    "BOOL": (bool,),
    "BYTES": (str,),
}
_DATATYPES = {
    "number": "FP64",
    "integer": "INT64",
    "boolean": "BOOL",
    "string": "BYTES",
    "timestamp": "BYTES",
}


class Tensor(msgspec.Struct):
    """One column of a request."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class RequestedOutput(msgspec.Struct):
    """An output that the caller wants."""

    name: str


class InferenceRequest(msgspec.Struct):
    """A request: one tensor for each column."""

    inputs: list[Tensor]
    id: str | None = None
    outputs: list[RequestedOutput] | None = None


_decoder = msgspec.json.Decoder(InferenceRequest)
# The id of a request goes back in a header.
_ID = re.compile(r"[ -~]{0,200}")


def decode(body: bytes, wanted: Sequence[str]) -> tuple[dict[str, list[Any]], str | None]:
    """The wanted columns of a request, and its own id; raises BadInput or msgspec's errors."""
    request = _decoder.decode(body)
    if request.id is not None and not _ID.fullmatch(request.id):
        raise BadInput("id: use at most 200 printable ASCII characters")
    for output in request.outputs or ():
        if output.name != OUTPUT:
            raise BadInput(f"outputs: no output {output.name!r}; this model has {OUTPUT!r}")
    columns: dict[str, list[Any]] = {}
    for tensor in request.inputs:
        if tensor.name in columns:
            raise BadInput(f"{tensor.name}: given twice in inputs")
        if tensor.name in wanted:
            columns[tensor.name] = _values(tensor)
    return columns, request.id


def _values(tensor: Tensor) -> list[Any]:
    """The values of a tensor of shape [rows] or [rows, 1]."""
    if tensor.datatype not in _KINDS:
        raise BadInput(
            f"{tensor.name}: datatype {tensor.datatype!r} is not supported; use one of {', '.join(_KINDS)}"
        )
    if len(tensor.shape) not in (1, 2) or math.prod(tensor.shape[1:]) != 1:
        raise BadInput(f"{tensor.name}: shape {tensor.shape} is not [rows] or [rows, 1]")
    values = tensor.data
    if len(tensor.shape) == 2:
        values = [_only(tensor.name, value) for value in values]
    if len(values) != tensor.shape[0]:
        raise BadInput(f"{tensor.name}: shape {tensor.shape}, but data has {len(values)} values")
    kinds = _KINDS[tensor.datatype]
    for row, value in enumerate(values):
        if value is not None and type(value) not in kinds:
            raise BadInput(f"{tensor.name}: row {row}: {type(value).__name__} is not {tensor.datatype}")
    return values


def _only(name: str, value: Any) -> Any:
    """The value of a row of one, which may be written flat or nested."""
    if not isinstance(value, list):
        return value
    if len(value) != 1:
        raise BadInput(f"{name}: a row of data has {len(value)} values; shape says 1")
    return value[0]


def tensors(predictor: Predictor) -> list[dict[str, Any]]:
    """What the metadata of a model says about its inputs."""
    return [
        {"name": name, "datatype": _DATATYPES[kind], "shape": [-1]} for name, kind in predictor.inputs.items()
    ]


def output(scores: list[float]) -> dict[str, Any]:
    """The one output of a reply: the probability of the positive class, row by row."""
    return {"name": OUTPUT, "datatype": "FP64", "shape": [len(scores)], "data": scores}
