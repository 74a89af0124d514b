"""How do two Kubernetes objects differ? Lines for people: what goes, and what comes, by path."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_KEPT_BY_THE_CLUSTER = ("status", "metadata.managedFields", "metadata.resourceVersion", "metadata.generation")


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[str]:
    """Lines `- path: value` and `+ path: value`, sorted by path; none when nothing would change.

    What only the cluster writes is left out.
    """
    old, new = dict(_values(before or {})), dict(_values(after))
    return [
        f"{sign} {path}: {json.dumps(values[path], ensure_ascii=False)}"
        for path in sorted({*old, *new})
        if path not in old or path not in new or old[path] != new[path]
        for sign, values in (("-", old), ("+", new))
        if path in values
    ]


def _values(item: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value that is no collection, or an empty one, with where it is."""
    if path in _KEPT_BY_THE_CLUSTER or (not path and not item):
        return
    if isinstance(item, Mapping) and item:
        for key, value in item.items():
            yield from _values(value, f"{path}.{key}" if path else str(key))
    elif isinstance(item, list) and item:
        for number, value in enumerate(item):
            yield from _values(value, f"{path}[{_label(value, number)}]")
    else:
        yield path, item


def _label(value: Any, number: int) -> str:
    """A named item of a list keeps its place in the difference when others come before it."""
    return str(value["name"]) if isinstance(value, Mapping) and "name" in value else str(number)
