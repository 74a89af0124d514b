"""What was decided about a model: who, when and why, for people and for other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from include.lifecycle.release.costs import USED
from include.lifecycle.store.ledger import Entry

_INDENT = "    "


def json_lines(entries: Sequence[Entry]) -> str:
    """Each entry as a line of JSON, hashes included: whoever has all lines can verify the chain."""
    return "".join(f"{entry.model_dump_json()}\n" for entry in entries)


def told(entries: Sequence[Entry]) -> str:
    """Each decision as a paragraph of text; what an attempt used is a bill, no decision, and left out."""
    return "\n".join(_paragraph(entry) for entry in entries if entry.event != USED)


def _paragraph(entry: Entry) -> str:
    head = f"{entry.seq:>5}  {entry.at:%Y-%m-%d %H:%M:%S} UTC  {entry.event.replace('_', ' ')}"
    if "version" in entry.data:
        head += f", version {entry.data['version']}"
    lines = [
        f"why: {entry.why}",
        f"by: {entry.actor}, in run {entry.run_id}",
        f"as of: {entry.as_of:%Y-%m-%d %H:%M} UTC",
        *(f"{key}: {_short(value)}" for key, value in entry.data.items() if key != "version"),
        f"hash: {entry.hash}",
    ]
    return "\n".join([head, *(f"{_INDENT}{line}" for line in lines)]) + "\n"


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
