"""What does the head of a request ask for, and is its body one that is read here?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs

from include.serving.refusals import Refused, TooLarge, Unsupported
from include.serving.replies import REQUEST_ID

MAX_BODY = 10 << 20
BULK_BODY = 64 << 10
"""A body of so many bytes is decoded, predicted and logged on a thread, so that the others do not wait."""
_JSON = b"application/json"
_NOT_READ = (b"text/csv", b"application/octet-stream", b"multipart/form-data")

Headers = Mapping[bytes, bytes]


class Target(NamedTuple):
    """What is to be predicted."""

    protocol: str
    model: str | None = None
    version: str | None = None


def target_of(path: str, query: bytes = b"") -> Target | None:
    """What a path and a query ask to be predicted, or None where they ask for something else."""
    match path.split("/"):
        case ["", "invocations" as protocol]:
            named = parse_qs(query.decode("latin-1")).get("model", [None])
            return Target(protocol, named[-1])
        case ["", "models", name, "invocations" as protocol] if name:
            return Target(protocol, name)
        case ["", "v2", "models", name, "infer" as protocol] if name:
            return Target(protocol, name)
        case ["", "v2", "models", name, "versions", version, "infer" as protocol] if name and version:
            return Target(protocol, name, version)
    return None


def completed(target: Target, headers: Headers) -> Target:
    """The target with the model that a header names, where nothing before it did."""
    if target.model is None and (named := headers.get(b"x-model")):
        return target._replace(model=named.decode("latin-1"))
    return target


def given_id(headers: Headers) -> str | None:
    """What the caller calls the request, if anything; raises Refused for what is no name."""
    given = headers.get(b"x-request-id")
    if given is None:
        return None
    text = given.decode("latin-1")
    if not REQUEST_ID.fullmatch(text):
        raise Refused("X-Request-Id: use 1 to 200 visible ASCII characters")
    return text


def announced(headers: Headers) -> int:
    """How many bytes a body has at most; raises Refused when it is not read here."""
    _check_format(headers)
    size = int(headers.get(b"content-length", MAX_BODY))
    if size > MAX_BODY:
        raise too_large()
    return size


def too_large() -> TooLarge:
    """The refusal of a body that is longer than is read."""
    return TooLarge(f"body: more than {MAX_BODY >> 20} MB; send fewer rows in each request")


def _check_format(headers: Headers) -> None:
    """Only plain JSON; a caller that says nothing, or a form as curl does, means JSON."""
    told = headers.get(b"content-type", _JSON)
    kind = told if told == _JSON else told.partition(b";")[0].strip().lower()
    if kind in _NOT_READ:
        raise Unsupported(f"Content-Type: {kind.decode()} is not read here; send application/json")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Unsupported("Content-Encoding: compressed bodies are not read here; send plain JSON")
    if b"inference-header-content-length" in headers:
        raise Unsupported("Inference-Header-Content-Length: binary tensors are not read; send JSON data")
