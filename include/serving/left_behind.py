"""What did servers that are gone leave on a volume that all servers share? It is taken over."""

from __future__ import annotations

import fcntl
import logging
import shutil
from pathlib import Path

_log = logging.getLogger(__name__)


def take_over(homes: Path, folder: Path) -> int:
    """Move the segments of servers that are gone into this server's log; returns how many.

    `homes` has the home of each server. One that lives holds the lock of its log: it is left alone. Rows
    that reached Delta before are known there by their segment, and not written again.
    """
    taken = 0
    for other in sorted(homes.glob("*/prediction-log")):
        segments = list(other.glob("*/*.jsonl"))
        if other == folder or not segments:
            continue
        with (other / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            for segment in segments:
                target = folder / segment.parent.name
                target.mkdir(exist_ok=True)
                segment.rename(target / segment.name)
            shutil.rmtree(other.parent / "packages", ignore_errors=True)
        _log.info("took over %d segments of %s, which is gone", len(segments), other.parent.name)
        taken += len(segments)
    return taken
