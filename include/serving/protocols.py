"""How is a request of each protocol read, and its answer written?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from include.serving import inference_v2, invocations
from include.serving.head import Target
from include.serving.recording import Answer
from include.serving.replies import encode


def decoded(target: Target, body: bytes, wanted: Sequence[str]) -> tuple[dict[str, list[Any]], str | None]:
    """The wanted columns of a request, and its own id; raises BadInput or msgspec's errors."""
    if target.protocol == "infer":
        return inference_v2.decode(body, wanted)
    return invocations.decode(body, wanted), None


def encoded(target: Target, answer: Answer) -> bytes:
    """The body of the reply."""
    model, version = answer.served.model, answer.served.release.version
    if target.protocol == "infer":
        outputs = [inference_v2.output(answer.scores)]
        return encode(
            {"model_name": model, "model_version": version, "id": answer.request_id, "outputs": outputs}
        )
    return encode(
        {
            "predictions": answer.scores,
            "model": model,
            "version": version,
            "request_id": answer.request_id,
        }
    )
