"""What Prometheus sees of the server."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from include.serving.score_metrics import ScoreDifference, ScoreDistribution

_SECONDS = (
    0.000125,
    0.00025,
    0.0005,
    0.001,
    0.002,
    0.004,
    0.008,
    0.016,
    0.032,
    0.064,
    0.125,
    0.25,
    0.5,
    1,
    2,
    4,
)


class Metrics:
    """The server's metrics in a registry of their own.

    Labels hold only names that come from the store, never what a caller wrote.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of_version = ("model", "version")
        self.requests = self._counter("requests", "Requests by outcome", (*of_version, "outcome"))
        self.rows = self._counter("rows", "Rows predicted and logged", of_version)
        self.seconds = Histogram(
            "perennial_request_seconds",
            "Time from the whole body read to the reply made",
            of_version,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.info = self._gauge("model_info", "1 for a version that is loaded", (*of_version, "as_of", "arm"))
        self.release = self._gauge("release_seq", "Ledger entry that is followed", ("model",))
        self.trouble = self._gauge("release_trouble", "1 while the release cannot be followed", ("model",))
        self.reload_failures = self._counter("reload_failures", "Releases not loaded", ("model",))
        self.poll_failures = self._counter("poll_failures", "Times the store did not list releases", ())
        self.copies_dropped = self._counter(
            "copies_dropped", "Requests that too many copies waited for to be compared", ("model",)
        )
        self.candidate_failures = self._counter(
            "candidate_failures", "Requests and copies that the candidate failed on", ("model",)
        )
        self.scores, self.difference = ScoreDistribution(), ScoreDifference()
        self.registry.register(self.scores)
        self.registry.register(self.difference)
        self.backlog = self._gauge("log_backlog_rows", "Logged rows not yet in Delta", ("model",))
        self.flush_failures = self._counter("log_flush_failures", "Flushes to Delta that failed", ("model",))

    def begin(self, model: str) -> None:
        """Count from nothing: Prometheus cannot tell how much a counter grew that was not there before."""
        for counter in (self.reload_failures, self.copies_dropped, self.candidate_failures):
            counter.labels(model)

    def _counter(self, name: str, about: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"perennial_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(f"perennial_{name}", about, labels, registry=self.registry)


class VersionMetrics:
    """The metrics of one version, looked up once: label look-ups are slow for every request."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        self.answered = metrics.requests.labels(model, version, "ok")
        self.rows = metrics.rows.labels(model, version)
        self.seconds = metrics.seconds.labels(model, version)

    def count(self, rows: int, seconds: Sequence[float]) -> None:
        """Count answered requests: their rows, and how long each took."""
        self.answered.inc(len(seconds))
        self.rows.inc(rows)
        for each in seconds:
            self.seconds.observe(each)
