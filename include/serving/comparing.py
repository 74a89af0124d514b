"""A champion and a candidate side by side: one answers, the other scores a copy after the reply.

Until a candidate is the champion its callers lose nothing by it: what it cannot answer, the champion does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from include.serving.copies import Copies
from include.serving.counting import ArmName
from include.serving.metrics import Metrics
from include.serving.recording import Answer, Recorder, Request
from include.serving.refusals import ModelFailed, Refused
from include.serving.rows import Rows
from include.serving.scoring import checked, predict
from include.serving.served import Candidate, Served
from include.serving.split import answers

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Compared:
    """A request that both versions see."""

    champion: Served
    candidate: Candidate
    request: Request
    rows: Rows
    """As the champion takes them."""

    @property
    def goes_to_candidate(self) -> bool:
        """Whether the candidate answers this caller."""
        key = (self.rows.keys and self.rows.keys[0]) or self.request.id
        return answers(self.candidate.served.release.version, key, self.candidate.share)

    def rows_for_candidate(self) -> Rows:
        """The rows as the candidate takes them; raises Refused when it does not."""
        rows = checked(self.candidate.served, self.request.columns)
        if rows.count != self.rows.count:
            raise Refused(
                f"{rows.count} rows in the candidate's columns, {self.rows.count} in the champion's"
            )
        return rows

    def count(self, arm: ArmName, seconds: float, *, failed: bool, scores: Sequence[float] = ()) -> None:
        slow = seconds > self.candidate.slow_seconds
        self.candidate.counting.count(arm, failed=failed, slow=slow, scores=scores)

    def compare(self, champion: Sequence[float], candidate: Sequence[float], rows: Rows) -> None:
        column = self.candidate.slice_by or ""
        slices = self.rows.inputs.get(column) or rows.inputs.get(column)
        self.candidate.counting.compare(champion, candidate, slices)


class Comparing:
    """Answers requests of models that have a candidate, and counts for its judge."""

    def __init__(self, recorder: Recorder, copies: Copies, metrics: Metrics) -> None:
        self._recorder, self._copies, self._metrics = recorder, copies, metrics

    def answer(self, champion: Served, candidate: Candidate, request: Request) -> Answer:
        """The answer of the version that this caller is with; raises Refused where the champion would."""
        both = _Compared(champion, candidate, request, checked(champion, request.columns))
        return self._by_candidate(both) if both.goes_to_candidate else self._by_champion(both)

    def _by_champion(self, both: _Compared) -> Answer:
        try:
            answer = self._recorder.answer(both.champion, "champion", both.rows, both.request)
        except ModelFailed:
            both.count("champion", both.request.seconds, failed=True)
            self._copy(both, partial(self._score_by_candidate, both, None))
            raise
        both.count("champion", both.request.seconds, failed=False, scores=answer.scores)
        self._copy(both, partial(self._score_by_candidate, both, answer.scores))
        return answer

    def _by_candidate(self, both: _Compared) -> Answer:
        served = both.candidate.served
        try:
            rows = both.rows_for_candidate()
            scores = predict(served, rows)
        except Refused as error:
            return self._by_champion_instead(both, error)
        answer = self._recorder.record(served, "canary", rows, scores, both.request)
        both.count("candidate", both.request.seconds, failed=False, scores=scores)
        self._copy(both, partial(self._score_by_champion, both, rows, scores))
        return answer

    def _by_champion_instead(self, both: _Compared, error: Refused) -> Answer:
        """What the candidate failed on; when the champion does not take the rows either, they are bad."""
        try:
            answer = self._recorder.answer(both.champion, "champion", both.rows, both.request)
        except ModelFailed:
            self._candidate_failed(both, "candidate", both.request.seconds, error)
            raise
        self._candidate_failed(both, "candidate", both.request.seconds, error)
        return answer

    def _copy(self, both: _Compared, work: Callable[[], None]) -> None:
        if not self._copies.offer(both.rows.count, work):
            self._metrics.copies_dropped.labels(both.champion.model).inc()

    def _score_by_candidate(self, both: _Compared, champion: list[float] | None) -> None:
        started = time.perf_counter()
        try:
            rows = both.rows_for_candidate()
            scores = predict(both.candidate.served, rows)
        except Refused as error:
            self._candidate_failed(both, "copies", time.perf_counter() - started, error)
            return
        both.count("copies", time.perf_counter() - started, failed=False, scores=scores)
        if champion is not None:
            both.compare(champion, scores, rows)

    def _score_by_champion(self, both: _Compared, rows: Rows, candidate: list[float]) -> None:
        try:
            scores = predict(both.champion, both.rows)
        except Refused:
            return
        both.compare(scores, candidate, rows)

    def _candidate_failed(self, both: _Compared, arm: ArmName, seconds: float, error: Refused) -> None:
        served = both.candidate.served
        if both.candidate.counting.is_faultless:  # once: a broken version would fill the disk
            _log.error("%s: candidate %s failed", served.model, served.release.version, exc_info=error)
        self._metrics.candidate_failures.labels(served.model).inc()
        both.count(arm, seconds, failed=True)
