"""From a request's body to a logged, counted prediction; plain functions of bytes, no HTTP."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from include.lifecycle.model.predictor import BadInput
from include.lifecycle.release.counts import ServerCounts
from include.serving import inference_v2, invocations
from include.serving.comparing import Comparing
from include.serving.copies import Copies
from include.serving.counting import PROCESS
from include.serving.head import Target
from include.serving.loader import Models
from include.serving.metrics import Metrics
from include.serving.prediction_log import PredictionLog
from include.serving.recording import Answer, Recorder, Request
from include.serving.refusals import ModelFailed, NotReady, NotServed, Refused, naming_the_field
from include.serving.replies import encode
from include.serving.rows import check_rows
from include.serving.served import Candidate, Followed, Served

_log = logging.getLogger(__name__)

Columns = dict[str, list[Any]]
Decode = Callable[[bytes, Sequence[str]], tuple[Columns, str | None]]


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The body of an answer, and who gave it."""

    body: bytes
    served: Served
    request_id: str

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What goes before the body."""
        return [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
            (b"x-model", self.served.model.encode("latin-1")),
            (b"x-model-version", self.served.release.version.encode("latin-1")),
            (b"x-request-id", self.request_id.encode("ascii")),
        ]


class Answering:
    """Chooses the model and the version, has it answer, counts what is refused; raises Refused."""

    def __init__(self, models: Models, log: PredictionLog, metrics: Metrics, copies: Copies) -> None:
        self._models, self._metrics = models, metrics
        self._recorder = Recorder(log)
        self._comparing = Comparing(self._recorder, copies, metrics)

    def reply(self, target: Target, body: bytes, request_id: str | None) -> Reply:
        """Answer in the protocol that is asked for."""
        if target.protocol == "infer" and target.model is not None:
            return self.infer(body, target.model, target.version, request_id)
        return self.invocations(body, target.model, request_id or new_request_id())

    def invocations(self, body: bytes, model: str | None, request_id: str) -> Reply:
        """Answer in MLflow's protocol; the only model needs not be named."""
        answer = self._answer(_decode_invocation, body, model, None, request_id)
        reply = {
            "predictions": answer.scores,
            "model": answer.served.model,
            "version": answer.served.release.version,
            "request_id": request_id,
        }
        return Reply(encode(reply), answer.served, request_id)

    def infer(self, body: bytes, model: str, version: str | None, request_id: str | None) -> Reply:
        """Answer in the Open Inference Protocol."""
        answer = self._answer(inference_v2.decode, body, model, version, request_id)
        reply = {
            "model_name": answer.served.model,
            "model_version": answer.served.release.version,
            "id": answer.request_id,
            "outputs": [inference_v2.output(answer.scores)],
        }
        return Reply(encode(reply), answer.served, answer.request_id)

    def chosen(self, model: str | None, version: str | None = None) -> tuple[Followed, Served]:
        """A model, and its champion or the version that was named.

        Raises NotServed or NotReady with what to do.
        """
        followed = self._models.followed
        name = model if model is not None else self._only()
        if name not in followed:
            known = f"; released are: {', '.join(followed)}" if followed else "; nothing is released yet"
            raise NotServed(f"no model {name!r}{known}")
        state = followed[name]
        if state.served is None:
            why = state.trouble or "approve a version in its release DAG; it is served half a second later"
            raise NotReady(f"model {name} has no champion to answer with: {why}")
        return state, state.served if version is None else _named(state, version)

    def counts(self, model: str) -> ServerCounts:
        """What this process counted of a champion and a candidate; raises NotServed without one."""
        state, champion = self.chosen(model)
        if state.candidate is None:
            why = f": {state.trouble}" if state.trouble else ""
            raise NotServed(
                f"{model} has no candidate beside version {champion.release.version} to count for{why}"
            )
        return ServerCounts(
            process=PROCESS,
            model=model,
            champion=champion.release.version,
            candidate=state.candidate.served.release.version,
            counts=state.candidate.counting.counts,
        )

    def _only(self) -> str:
        followed = self._models.followed
        if not followed:
            why = self._models.store_trouble or "train one and release it; it is served half a second later"
            raise NotReady(f"no model is released yet: {why}")
        if len(followed) > 1:
            raise Refused(
                f"model: several are served ({', '.join(followed)}); choose with /models/<name>/invocations, "
                "?model=<name> or the header X-Model"
            )
        return next(iter(followed))

    def _answer(
        self, decode: Decode, body: bytes, model: str | None, version: str | None, request_id: str | None
    ) -> Answer:
        try:
            return self._answered(decode, body, model, version, request_id)
        except Refused as refused:
            if isinstance(refused, ModelFailed):
                _log.error("a request was not answered", exc_info=refused)
            self.count_refusal(model, refused, version)
            raise

    def _answered(
        self, decode: Decode, body: bytes, model: str | None, version: str | None, request_id: str | None
    ) -> Answer:
        started = time.perf_counter()
        state, served = self.chosen(model, version)
        # Who names a version is not one of the callers that are split.
        candidate = state.candidate if version is None else None
        if candidate is not None:
            columns, own_id = _decode_for_both(decode, body, served, candidate)
            request = Request(columns, request_id or own_id or new_request_id(), started)
            return self._comparing.answer(served, candidate, request)
        with naming_the_field:
            columns, own_id = decode(body, served.layout.wanted)
            rows = check_rows(columns, served.layout)
        request = Request(columns, request_id or own_id or new_request_id(), started)
        arm = "champion" if served is state.served else "canary"
        return self._recorder.answer(served, arm, rows, request)

    def count_refusal(self, model: str | None, refused: Refused, version: str | None = None) -> None:
        """Count a request without an answer, under names only that are ours."""
        followed = self._models.followed
        name = model if model is not None else next(iter(followed), "") if len(followed) == 1 else ""
        state = followed.get(name)
        ours = [served.release.version for served in state.versions] if state else []
        label = version if version in ours else next(iter(ours), "")
        self._metrics.requests.labels(name if state else "", label, refused.outcome).inc()

    def count_failure(self) -> None:
        """Count a request that the server failed on."""
        self._metrics.requests.labels("", "", "internal_error").inc()


def new_request_id() -> str:
    """An id for a request whose caller gave none."""
    return os.urandom(16).hex()


def _named(state: Followed, version: str) -> Served:
    for served in state.versions:
        if served.release.version == version:
            return served
    known = ", ".join(served.release.version for served in state.versions)
    raise NotServed(f"version {version!r} of {state.model} is not served; served are: {known}")


def _decode_invocation(body: bytes, wanted: Sequence[str]) -> tuple[Columns, None]:
    return invocations.decode(body, wanted), None


def _decode_for_both(
    decode: Decode, body: bytes, champion: Served, candidate: Candidate
) -> tuple[Columns, str | None]:
    """The columns that either version looks at; the champion's, where only the others are bad."""
    with naming_the_field:
        if candidate.wanted != champion.layout.wanted:
            with suppress(BadInput):
                return decode(body, candidate.wanted)
        return decode(body, champion.layout.wanted)
