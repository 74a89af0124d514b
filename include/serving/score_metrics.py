"""What Prometheus sees of the scores; no request waits until they are counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from prometheus_client.metrics_core import HistogramMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from include.lifecycle.release.counts import Tally

_BOUNDS = tuple(tenth / 10 for tenth in range(1, 11))
_LABELS = ["model", "version", "arm"]


class _Seen:
    """The scores of one version in one arm: rows between two bounds, the last above all; and their sum."""

    def __init__(self) -> None:
        self.rows, self.total = [0] * (len(_BOUNDS) + 1), 0.0


class ScoreDistribution(Collector):
    """The metric `perennial_score`: a histogram by model, version and arm."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, ...], _Seen] = {}

    def count(self, logged: pa.Table) -> None:
        """Count rows of the prediction log."""
        places = pa.array(np.searchsorted(_BOUNDS, logged["score"].to_numpy()))
        grouped = logged.select([*_LABELS, "score"]).append_column("place", places)
        groups = grouped.group_by([*_LABELS, "place"]).aggregate([("score", "count"), ("score", "sum")])
        with self._lock:
            for group in groups.to_pylist():
                seen = self._seen.setdefault(tuple(group[name] for name in _LABELS), _Seen())
                seen.rows[group["place"]] += group["score_count"]
                seen.total += group["score_sum"]

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The metric as it is now."""
        family = HistogramMetricFamily("perennial_score", "Scores given, of rows in Delta", labels=_LABELS)
        bounds = (*map(str, _BOUNDS), "+Inf")
        with self._lock:
            for labels, seen in self._seen.items():
                counts = np.cumsum(seen.rows).tolist()
                family.add_metric(labels, list(zip(bounds, counts, strict=True)), seen.total)
        yield family


class ScoreDifference(Collector):
    """The metric `perennial_score_difference`: rows that a candidate and the champion both scored, and how
    far apart the scores were, by model and candidate."""

    def __init__(self) -> None:
        self._tallies: dict[str, tuple[str, Callable[[], Tally]]] = {}

    def follow(self, model: str, version: str, tally: Callable[[], Tally]) -> None:
        """From now on tell of this candidate of the model."""
        self._tallies[model] = version, tally

    def forget(self, model: str) -> None:
        """The model has no candidate any more."""
        self._tallies.pop(model, None)

    def collect(self) -> Iterator[SummaryMetricFamily]:
        """The metric as it is now."""
        text = "Distance of the candidate's score from the champion's, by row"
        family = SummaryMetricFamily("perennial_score_difference", text, labels=["model", "version"])
        for model, (version, tally) in list(self._tallies.items()):
            found = tally()
            family.add_metric([model, version], found.count, found.total)
        yield family
