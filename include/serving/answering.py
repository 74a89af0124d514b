"""From a request's body to a logged, counted prediction; plain functions of bytes, no HTTP."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from include.lifecycle.model.predictor import BadInput
from include.serving import inference_v2, invocations
from include.serving.loader import Models, Served
from include.serving.logged_row import lines_of
from include.serving.metrics import Metrics
from include.serving.prediction_log import PredictionLog
from include.serving.refusals import ModelFailed, NotLogged, NotReady, NotServed, Refused
from include.serving.replies import encode
from include.serving.rows import Rows, check_rows

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    """The body of an answer, and who gave it."""

    body: bytes
    served: Served
    request_id: str


class Answering:
    """Chooses the model, predicts, writes the log, counts; raises Refused."""

    def __init__(self, models: Models, log: PredictionLog, metrics: Metrics) -> None:
        self._models, self._log, self._metrics = models, log, metrics

    def invocations(self, body: bytes, model: str | None, request_id: str) -> Reply:
        """Answer in MLflow's protocol; the only model needs not be named."""
        started = time.perf_counter()
        with self._counting_refusals(model):
            served = self.served(model)
            with _naming_the_field():
                columns = invocations.decode(body, served.wanted)
            scores = self._answer(served, columns, request_id, started)
            reply = {
                "predictions": scores,
                "model": served.model,
                "version": served.release.version,
                "request_id": request_id,
            }
            return Reply(encode(reply), served, request_id)

    def infer(self, body: bytes, model: str, version: str | None, request_id: str | None) -> Reply:
        """Answer in the Open Inference Protocol."""
        started = time.perf_counter()
        with self._counting_refusals(model):
            served = self.served(model, version)
            with _naming_the_field():
                columns, own_id = inference_v2.decode(body, served.wanted)
            chosen = request_id or own_id or new_request_id()
            scores = self._answer(served, columns, chosen, started)
            reply = {
                "model_name": served.model,
                "model_version": served.release.version,
                "id": chosen,
                "outputs": [inference_v2.output(scores)],
            }
            return Reply(encode(reply), served, chosen)

    def served(self, model: str | None, version: str | None = None) -> Served:
        """The version that answers for a model; raises NotServed or NotReady with what to do."""
        followed = self._models.followed
        name = model if model is not None else self._only()
        if name not in followed:
            known = f"; released are: {', '.join(followed)}" if followed else "; nothing is released yet"
            raise NotServed(f"no model {name!r}{known}")
        served, trouble = followed[name].served, followed[name].trouble
        if served is None:
            why = trouble or "approve a version in its release DAG; it is served half a second later"
            raise NotReady(f"model {name} has no champion to answer with: {why}")
        if version is not None and version != served.release.version:
            raise NotServed(
                f"version {version!r} of {name} is not served; version {served.release.version} is"
            )
        return served

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
        self, served: Served, columns: dict[str, list[Any]], request_id: str, started: float
    ) -> list[float]:
        with _naming_the_field():
            rows = check_rows(columns, served.predictor)
        scores = _predict(served, rows)
        lines = lines_of(request_id, served.model, served.release, rows, scores)
        try:
            self._log.record(served.model, lines, rows.count)
        except OSError as error:
            _log.error("%s: a prediction could not be logged: %s", served.model, error)
            raise NotLogged(
                f"the prediction log cannot be written, so nothing is answered: {error}"
            ) from error
        served.metrics.count(rows.count, time.perf_counter() - started)
        return scores

    @contextmanager
    def _counting_refusals(self, model: str | None) -> Iterator[None]:
        try:
            yield
        except Refused as refused:
            self.count_refusal(model, refused)
            raise

    def count_refusal(self, model: str | None, refused: Refused) -> None:
        """Count a request without an answer, under a model's name only when it is one of ours."""
        followed = self._models.followed
        name = model if model is not None else next(iter(followed), "") if len(followed) == 1 else ""
        state = followed.get(name)
        version = state.served.release.version if state and state.served else ""
        self._metrics.requests.labels(name if state else "", version, refused.outcome).inc()


def new_request_id() -> str:
    """An id for a request whose caller gave none."""
    return uuid.uuid4().hex


def _predict(served: Served, rows: Rows) -> list[float]:
    try:
        scores = served.predictor.predict(rows.typed)
    except BadInput as error:
        raise Refused(str(error)) from error
    except Exception as error:
        _log.exception("%s: version %s failed", served.model, served.release.version)
        raise ModelFailed(_failure(served, f"{type(error).__name__}: {error}")) from error
    if scores.shape != (rows.count,) or not np.isfinite(scores).all():
        raise ModelFailed(_failure(served, f"{scores.size} scores for {rows.count} rows, or not finite"))
    found: list[float] = scores.tolist()
    return found


def _failure(served: Served, what: str) -> str:
    return f"version {served.release.version} of {served.model} cannot answer these rows: {what}"


@contextmanager
def _naming_the_field() -> Iterator[None]:
    """Whatever a body can do wrong, as a refusal; msgspec's messages end with the place."""
    try:
        yield
    except RecursionError:
        raise Refused("body: nested too deeply") from None
    except UnicodeDecodeError as error:
        raise Refused(f"body: not UTF-8 at byte {error.start}") from None
    except (BadInput, msgspec.MsgspecError) as error:
        raise Refused(str(error)) from error
