"""Makes a Delta table look as if all that was done to it had been done long ago."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from include.lifecycle.store.lake import Table
from include.lifecycle.store.objects import Store

_TIMES = {
    "commitInfo": "timestamp",
    "add": "modificationTime",
    "remove": "deletionTimestamp",
    "metaData": "createdTime",
    "txn": "lastUpdated",
}


def age(table: Table, store: Store, by: timedelta) -> None:
    """Set the times in the log back, and in a folder those of all files.

    Checkpoints repeat the log's times: they are written anew. An old one is what lets Delta drop the log
    before it.
    """
    for path in store.list(f"{table.path}/_delta_log"):
        if path.endswith(".json"):
            lines = (store.get(path) or b"").splitlines()
            store.replace(path, b"\n".join(_aged(json.loads(line), by) for line in lines) + b"\n")
        else:
            store.remove(path)
    with table.opened() as delta:
        assert delta is not None
        delta.create_checkpoint()
    if "://" not in store.uri:
        for file in Path(table.uri).rglob("*"):
            then = file.stat().st_mtime - by.total_seconds()
            os.utime(file, (then, then))


def _aged(action: dict[str, Any], by: timedelta) -> bytes:
    for kind, time in _TIMES.items():
        if action.get(kind, {}).get(time):
            action[kind][time] -= by // timedelta(milliseconds=1)
    return json.dumps(action).encode()
