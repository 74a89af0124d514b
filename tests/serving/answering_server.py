"""All of a server but HTTP: what it reads, how it answers and what it counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.release.counts import Counts
from include.lifecycle.release.document import Release
from include.lifecycle.store.objects import Store
from include.serving.answering import Answering
from include.serving.copies import Copies
from include.serving.head import Target
from include.serving.loader import Models
from include.serving.metrics import Metrics
from include.serving.packages import PackageCache
from include.serving.prediction_log import PredictionLog
from tests.serving.released import MODEL, ROW, publish
from tests.serving.running import wait_until


class AnsweringServer:
    """Follows the releases of a store whenever it is told one."""

    def __init__(self, home: Path, store: Store, copies: Copies | None = None) -> None:
        self.store, self.metrics = store, Metrics()
        (home / "log").mkdir(parents=True)
        self.log = PredictionLog(home / "log", store, self.metrics, every=0.2)
        self.models = Models(store, PackageCache(home / "packages", store), self.metrics)
        self.copies = copies or Copies()
        if copies is None:
            self.copies.start()
        self.answering = Answering(self.models, self.log, self.metrics, self.copies)
        self._seq = 0

    def close(self) -> None:
        """End its threads."""
        self.copies.stop()
        self.log.close(10)

    def release(self, champion: Release, **candidate: Any) -> None:
        """Release a champion, and a candidate beside it, and follow that."""
        self._seq += 1
        publish(self.store, champion, self._seq, **candidate)
        self.models.poll()

    def ask(self, *rows: dict[str, Any], request_id: str = "") -> dict[str, Any]:
        """The reply to rows, each ROW with changes; raises Refused."""
        body = json.dumps({"instances": [{**ROW, **changes} for changes in rows]}).encode()
        reply = self.answering.reply(Target("invocations", MODEL), body, request_id or None)
        found: dict[str, Any] = json.loads(reply.body)
        return found

    def counts(self, compared: int | None = None) -> Counts:
        """What was counted, when that many rows were compared."""
        if compared is not None:
            wait_until(lambda: self.counts().difference.count == compared, f"{compared} rows are compared")
        return self.answering.counts(MODEL).counts

    def arms(self) -> dict[str, tuple[str, str]]:
        """Arm and version by request, of the prediction log."""
        assert not self.log.flush(30)
        dataset = prediction_log(MODEL, self.store).dataset()
        assert dataset is not None
        rows = dataset.to_table(["request_id", "arm", "version"]).to_pylist()
        return {row["request_id"]: (row["arm"], row["version"]) for row in rows}

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of a sample."""
        return self.metrics.registry.get_sample_value(f"perennial_{name}", labels)
