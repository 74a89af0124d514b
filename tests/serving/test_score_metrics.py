from __future__ import annotations

import pyarrow as pa
import pytest

from include.lifecycle.release.document import Release
from include.serving.metrics import Metrics
from tests.serving.answering_server import AnsweringServer
from tests.serving.released import MODEL


def _count(metrics: Metrics, *rows: tuple[str, str, float]) -> None:
    versions, arms, scores = zip(*rows, strict=True)
    columns = {"model": ["m"] * len(rows), "version": versions, "arm": arms, "score": scores}
    metrics.scores.count(pa.table({name: list(values) for name, values in columns.items()}))


def _sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"perennial_score_{name}", {"model": "m", **labels})


def test_scores_are_counted_in_tenths_by_version_and_arm() -> None:
    metrics = Metrics()
    _count(
        metrics, ("1", "champion", 0.0), ("1", "champion", 0.3), ("1", "champion", 0.31), ("2", "canary", 1.0)
    )
    _count(metrics, ("1", "champion", 0.999), ("1", "canary", 2.5))
    champion = {"version": "1", "arm": "champion"}
    counts = {
        le: _sample(metrics, "bucket", le=le, **champion) for le in ("0.1", "0.3", "0.4", "1.0", "+Inf")
    }
    assert counts == {"0.1": 1, "0.3": 2, "0.4": 3, "1.0": 4, "+Inf": 4}
    assert _sample(metrics, "sum", **champion) == pytest.approx(1.609)
    assert _sample(metrics, "bucket", le="1.0", version="2", arm="canary") == 1
    assert _sample(metrics, "bucket", le="1.0", version="1", arm="canary") == 0
    assert _sample(metrics, "count", version="1", arm="canary") == 1


def test_logged_answers_are_counted_once(server: AnsweringServer, releases: dict[str, Release]) -> None:
    server.release(releases["1"])
    scores = [score for _ in range(3) for score in server.ask({}, {"stops": 2})["predictions"]]
    assert not server.log.flush(30)
    version = {"model": MODEL, "version": "1", "arm": "champion"}
    assert server.metric("score_count", **version) == 6
    assert server.metric("score_sum", **version) == pytest.approx(sum(scores))


def test_the_candidates_distance_is_told_as_long_as_there_is_one(
    server: AnsweringServer, releases: dict[str, Release]
) -> None:
    server.release(releases["1"], candidate=releases["2"])
    candidate = {"model": MODEL, "version": "2"}
    assert server.metric("score_difference_count", **candidate) == 0
    server.ask({}, {"stops": 2})
    difference = server.counts(compared=2).difference
    assert server.metric("score_difference_count", **candidate) == 2
    assert server.metric("score_difference_sum", **candidate) == difference.total > 0
    server.release(releases["2"])
    assert server.metric("score_difference_count", **candidate) is None
