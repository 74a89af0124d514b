"""Folders for the files of a moment. Those of processes that were killed are found, and removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "perennial-scratch-"
_YOUNG = 60
"""Seconds in which whoever made a folder has certainly locked it."""


@contextmanager
def scratch_folder(what: str) -> Iterator[Path]:
    """A temporary folder for some work, locked as long as this process lives."""
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{what}-") as folder:
        lock = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks: then nobody can take it for abandoned
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(folder)
        finally:
            os.close(lock)


def remove_abandoned_folders() -> list[str]:
    """Remove the folders whose processes are gone, whatever killed them; returns their names.

    The kernel ends a lock with its process: a number of a process, that another one may have by now, would
    not tell.
    """
    found = sorted(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"))
    return [folder.name for folder in found if _removed(folder)]


def _removed(folder: Path) -> bool:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone meanwhile, or another user's
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.stat().st_mtime > time.time() - _YOUNG:
            return False
        shutil.rmtree(folder)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
