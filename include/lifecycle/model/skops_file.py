"""Writes a classifier of scikit-learn's with skops, the same classifier always as the same bytes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np

from include.lifecycle.errors import Rejected
from include.lifecycle.model.predictor import load_estimator
from include.lifecycle.spec.value import sha256

_SCHEMA = "schema.json"


def write_estimator(classifier: Any, file: Path) -> None:
    """Write a fitted classifier to a file that the predictor loads; raises Rejected where it would not."""
    from skops.io import dumps  # half a second, which no training of XGBoost's need wait for

    try:
        file.write_bytes(_canonical(dumps(classifier)))
        load_estimator(file)
    except TypeError as error:
        reason = str(error).splitlines()[0]
        raise Rejected(
            f"training: with these parameters the estimator cannot be kept without pickle ({reason}); change "
            "training.parameters, or choose another estimator"
        ) from error


def _canonical(dump: bytes) -> bytes:
    """The same dump without the clock and the memory addresses that skops writes into it."""
    with ZipFile(io.BytesIO(dump)) as archive:
        schema = archive.read(_SCHEMA)
        contents = {name: _without_padding(archive.read(name)) for name in archive.namelist()}
    names = {name: f"{sha256(content)}{Path(name).suffix}" for name, content in contents.items()}
    files = {names[name]: content for name, content in contents.items() if name != _SCHEMA}
    files[_SCHEMA] = json.dumps(_renamed(schema, names), separators=(",", ":")).encode()
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        for name in sorted(files):
            archive.writestr(ZipInfo(name), files[name])
    return packed.getvalue()


def _renamed(schema: bytes, names: dict[str, str]) -> Any:
    """The schema with other names of files, and objects numbered in the order in which they come.

    Whether two texts or numbers are one object is chance, and makes no difference: they get no number.
    """
    numbers: dict[int, int] = {}

    def rename(node: dict[str, Any]) -> dict[str, Any]:
        if isinstance(file := node.get("file"), str):
            node["file"] = names[file]
        if node.get("__loader__") == "JsonNode":
            node.pop("__id__", None)
        elif isinstance(address := node.get("__id__"), int):
            node["__id__"] = numbers.setdefault(address, len(numbers) + 1)
        return node

    return json.loads(schema, object_hook=rename)


def _without_padding(content: bytes) -> bytes:
    """An array's file with zeros between the fields of its records: what lies there is left over."""
    if not content.startswith(b"\x93NUMPY"):
        return content
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    clean = np.zeros(array.shape, array.dtype)  # zeros_like writes the fields alone
    for field in array.dtype.names:
        clean[field] = array[field]
    packed = io.BytesIO()
    np.save(packed, clean, allow_pickle=False)
    return packed.getvalue()
