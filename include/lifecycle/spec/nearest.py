"""Which known word was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[object]) -> str:
    """A hint such as ``; did you mean 'origin'?``, or the known words when none is near."""
    words = [str(item) for item in known]
    if close := get_close_matches(str(word), words, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(sorted(words))}" if words else ""


def require_column(column: str, known: Iterable[object], place: str) -> None:
    """Raise ValueError, naming the nearest known column, when `column` is not among `known`."""
    words = [str(item) for item in known]
    if column not in words:
        raise ValueError(f"{place}: unknown column {column!r}{nearest(column, words)}")
