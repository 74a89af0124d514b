"""Answers that count: written to the prediction log before anybody sees them, and counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import msgspec

from include.serving.logged_row import lines_of
from include.serving.prediction_log import PredictionLog
from include.serving.refusals import NotLogged
from include.serving.rows import Rows
from include.serving.scoring import predict
from include.serving.served import Served

_log = logging.getLogger(__name__)


class Request(msgspec.Struct, frozen=True, gc=False):
    """What a caller asks."""

    columns: dict[str, list[Any]]
    """Plain JSON values by column, not checked yet."""
    id: str
    started: float
    """When its body was read, of `time.perf_counter`."""

    @property
    def rows(self) -> int:
        """How many are asked about."""
        return len(next(iter(self.columns.values())))

    @property
    def seconds(self) -> float:
        """How long it takes until now."""
        return time.perf_counter() - self.started


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The scores of a request's rows, and who gave them."""

    served: Served
    scores: list[float]
    request_id: str


class Recorder:
    """Keeps every answer before it is given."""

    def __init__(self, log: PredictionLog) -> None:
        self._log = log

    def answer(self, served: Served, arm: str, rows: Rows, request: Request) -> Answer:
        """The version's answer, recorded; raises Refused, ModelFailed or NotLogged."""
        return self.record(served, arm, rows, predict(served, rows), request)

    def answer_all(self, served: Served, arm: str, rows: Rows, requests: Sequence[Request]) -> list[Answer]:
        """The version's answers to several requests, whose rows follow one another; raises as `answer`."""
        scores = predict(served, rows)
        names = [name for request in requests for name in _names(request.id, request.rows)]
        self._keep(served, arm, rows, scores, names)
        served.metrics.count(rows.count, [request.seconds for request in requests])
        rest = iter(scores)
        return [Answer(served, list(islice(rest, request.rows)), request.id) for request in requests]

    def record(self, served: Served, arm: str, rows: Rows, scores: list[float], request: Request) -> Answer:
        """The answer made of these scores; raises NotLogged when it cannot be written down."""
        self._keep(served, arm, rows, scores, _names(request.id, rows.count))
        served.metrics.count(rows.count, [request.seconds])
        return Answer(served, scores, request.id)

    def _keep(self, served: Served, arm: str, rows: Rows, scores: list[float], names: Sequence[str]) -> None:
        lines = lines_of(names, served.model, served.release, arm, rows, scores)
        try:
            self._log.record(served.model, lines, rows.count)
        except OSError as error:
            _log.error("%s: a prediction could not be logged: %s", served.model, error)
            raise NotLogged(
                f"the prediction log cannot be written, so nothing is answered: {error}"
            ) from error


def _names(request_id: str, rows: int) -> list[str]:
    """What the log calls each row: the request's id, and the row's number where there are several."""
    return [request_id] if rows == 1 else [f"{request_id}/{number}" for number in range(rows)]
