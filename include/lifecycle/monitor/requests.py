"""Which requests of the newest logged day can be asked again?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.store.lake import PARTITION
from include.lifecycle.store.objects import Store
from include.lifecycle.store.scan import connect


@dataclass(frozen=True)
class Logged:
    """A request of one row as it was answered then."""

    day: date
    """Of its event time, in UTC."""
    row: dict[str, Any]
    """The inputs of the version that answered."""
    version: str
    score: float


def newest_requests(model: str, store: Store, before: datetime, count: int, seed: int) -> list[Logged]:
    """At most `count` requests, drawn with a seed, of the newest day in the prediction log before that of a
    moment; none where nothing was logged."""
    days = _days_before(model, store, before)
    if not days or count == 0:
        return []
    with connect() as db:
        db.register("log", prediction_log(model, store).dataset())
        found = db.execute(
            "SELECT inputs, version, score FROM ("
            'SELECT *, row_number() OVER (PARTITION BY request_id ORDER BY "at") AS _n '
            f"FROM log WHERE {PARTITION} = '{days[-1]}') "
            f"WHERE _n = 1 ORDER BY md5(request_id || '{seed}'), request_id LIMIT {count}"
        ).fetchall()
    day = date.fromisoformat(days[-1])
    return [Logged(day, json.loads(inputs), version, score) for inputs, version, score in found]


def _days_before(model: str, store: Store, before: datetime) -> list[str]:
    with prediction_log(model, store).opened() as log:
        days = {item[PARTITION] for item in log.partitions()} if log is not None else set()
    return sorted(day for day in days if day and day < f"{before:%Y-%m-%d}")
