"""Turns a trained version into files that load anywhere, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from xgboost import Booster

from include.lifecycle.model import predictor

FILES = ("booster.ubj", "features.py", "predictor.json", "predictor.py")


def write_package(
    folder: Path,
    booster: Booster,
    categories: Mapping[str, list[str] | None],
    features_code: bytes,
    *,
    inputs: Mapping[str, str],
    key: str,
    event_time: str,
) -> list[Path]:
    """Write a version's files (see :mod:`include.lifecycle.model.predictor`) and return them."""
    layout = {
        "inputs": dict(inputs),
        "key": key,
        "event_time": event_time,
        "features": dict(categories),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "predictor.json").write_text(json.dumps(layout, indent=1), encoding="utf-8")
    (folder / "features.py").write_bytes(features_code)
    (folder / "predictor.py").write_bytes(Path(predictor.__file__).read_bytes())
    booster.save_model(folder / "booster.ubj")
    return [folder / name for name in FILES]
