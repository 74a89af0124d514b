"""Copies the files of a version from the store to this machine, and loads them."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # noqa: F401, here and not with the first version: the port opens when it is there
import xgboost  # noqa: F401, likewise

from include.lifecycle.errors import Rejected
from include.lifecycle.model.predictor import Predictor
from include.lifecycle.release.document import Release
from include.lifecycle.spec.value import canonical_json, sha256
from include.lifecycle.store.objects import Output, Store

_EXAMPLES: dict[str, Any] = {
    "number": 0.0,
    "integer": 0,
    "boolean": False,
    "string": "",
    "timestamp": "2000-01-01",
}


class PackageCache:
    """A folder for each package, named by what is in it; files are verified every time."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder, self._store = folder, store

    def fetch(self, model: str, release: Release) -> Path:
        """The folder with a version's files; raises Tampered or Transient when they do not come."""
        folder = self._folder / model / _digest(release)
        folder.mkdir(parents=True, exist_ok=True)
        for name, output in release.package.items():
            if Path(name).name != name:
                raise Rejected(f"package of version {release.version}: {name!r} is not a file name")
            if not _is(folder / name, output):
                self._copy(output, folder / name)
        return folder

    def keep_only(self, model: str, releases: Iterable[Release]) -> None:
        """Delete the copies of the model's other versions."""
        kept = {_digest(release) for release in releases}
        for folder in (self._folder / model).iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _copy(self, output: Output, file: Path) -> None:
        with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
            self._store.fetch(output, Path(scratch, file.name)).replace(file)


def load(folder: Path, release: Release) -> Predictor:
    """A predictor that has answered once; raises Rejected when it cannot."""
    try:
        predictor = Predictor(folder)
    except Exception as error:
        raise Rejected(f"version {release.version} does not load: {error!r}") from error
    _warm_up(predictor, release)
    return predictor


def _warm_up(predictor: Predictor, release: Release) -> None:
    """Predict one row, so that the first caller does not wait and a broken version never serves.

    Features may refuse an odd row, so that a version is broken only when it answers neither a row of
    neutral values nor one where all is missing.
    """
    neutral = {name: [_EXAMPLES[kind]] for name, kind in predictor.inputs.items()}
    missing = {name: [None] for name in predictor.inputs}
    errors = [error for rows in (neutral, missing) if (error := _try(predictor, rows))]
    if len(errors) == 2:
        raise Rejected(f"version {release.version} answers no row: {errors[0]!r}") from errors[0]


def _try(predictor: Predictor, rows: dict[str, list[Any]]) -> Exception | None:
    try:
        scores = predictor.predict(rows)
    except Exception as error:
        return error
    if scores.shape == (1,) and np.isfinite(scores).all():
        return None
    return ValueError(f"one row gave {scores.tolist()}, not one finite number")


def _digest(release: Release) -> str:
    return sha256(canonical_json({name: output.sha256 for name, output in release.package.items()}))


def _is(file: Path, output: Output) -> bool:
    """Whether the file has the bytes that were written; a cache on disk may rot or be cut."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == output.sha256
