"""From a request's body to a logged, counted prediction; plain functions of bytes, no HTTP."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from include.lifecycle.model.predictor import BadInput
from include.lifecycle.release.counts import ServerCounts
from include.serving.comparing import Comparing
from include.serving.copies import Copies
from include.serving.counting import PROCESS
from include.serving.head import Target
from include.serving.loader import Models
from include.serving.metrics import Metrics
from include.serving.prediction_log import PredictionLog
from include.serving.protocols import decoded, encoded
from include.serving.recording import Answer, Recorder, Request
from include.serving.refusals import ModelFailed, NotReady, NotServed, Refused, naming_the_field
from include.serving.rows import check_rows, joined
from include.serving.served import Candidate, Followed, Served

_log = logging.getLogger(__name__)


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


class Alone(Exception):
    """These requests are not answered together."""


class Answering:
    """Chooses the model and the version, has it answer, counts what is refused; raises Refused."""

    def __init__(self, models: Models, log: PredictionLog, metrics: Metrics, copies: Copies) -> None:
        self._models, self._metrics = models, metrics
        self._recorder = Recorder(log)
        self._comparing = Comparing(self._recorder, copies, metrics)

    def reply(self, target: Target, body: bytes, request_id: str | None) -> Reply:
        """Answer in the protocol that is asked for; the only model needs not be named."""
        try:
            answer = self._answer(target, body, request_id)
        except Refused as refused:
            if isinstance(refused, ModelFailed):
                _log.error("a request was not answered", exc_info=refused)
            self.count_refusal(target.model, refused, target.version)
            raise
        return _reply(target, answer)

    def replies(self, target: Target, asked: Sequence[tuple[bytes, str | None]]) -> list[Reply]:
        """Answer several requests, given by body and id, with one prediction.

        Raises Alone, or Refused for what is wrong with one of them: then nothing was recorded or counted,
        and each has to be answered by itself.
        """
        started = time.perf_counter()
        state, served = self.chosen(target.model, target.version)
        if _candidate(target, state) is not None:
            raise Alone
        wanted = served.layout.wanted
        with naming_the_field:
            requests = [_request(target, body, request_id, wanted, started) for body, request_id in asked]
            rows = check_rows(joined([request.columns for request in requests]), served.layout)
        answers = self._recorder.answer_all(served, state.arm_of(served), rows, requests)
        return [_reply(target, answer) for answer in answers]

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

    def _answer(self, target: Target, body: bytes, request_id: str | None) -> Answer:
        started = time.perf_counter()
        state, served = self.chosen(target.model, target.version)
        candidate = _candidate(target, state)
        if candidate is not None:
            request = _request_for_both(target, body, request_id, served, candidate, started)
            return self._comparing.answer(served, candidate, request)
        with naming_the_field:
            request = _request(target, body, request_id, served.layout.wanted, started)
            rows = check_rows(request.columns, served.layout)
        return self._recorder.answer(served, state.arm_of(served), rows, request)

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


def _candidate(target: Target, state: Followed) -> Candidate | None:
    """Who names a version is not one of the callers that are split."""
    return state.candidate if target.version is None else None


def _request(
    target: Target, body: bytes, request_id: str | None, wanted: Sequence[str], started: float
) -> Request:
    columns, own_id = decoded(target, body, wanted)
    return Request(columns, request_id or own_id or new_request_id(), started)


def _request_for_both(
    target: Target,
    body: bytes,
    request_id: str | None,
    champion: Served,
    candidate: Candidate,
    started: float,
) -> Request:
    """The columns that either version looks at; the champion's, where only the others are bad."""
    with naming_the_field:
        if candidate.wanted != champion.layout.wanted:
            with suppress(BadInput):
                return _request(target, body, request_id, candidate.wanted, started)
        return _request(target, body, request_id, champion.layout.wanted, started)


def _reply(target: Target, answer: Answer) -> Reply:
    return Reply(encoded(target, answer), answer.served, answer.request_id)
