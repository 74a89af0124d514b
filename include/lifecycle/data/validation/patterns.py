"""Which regular expressions of Python and LIKE patterns of PostgreSQL DuckDB understands the same way."""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from include.lifecycle.data.literals import NotCompiled, text

_MOST_REPEATS = 1000
"""RE2 refuses more."""
_SPACE = r"\t-\r\x{1c}- \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
_CLASSES = {
    codes.CATEGORY_DIGIT: r"\p{Nd}",
    codes.CATEGORY_SPACE: _SPACE,
    codes.CATEGORY_WORD: r"\p{L}\p{N}_",
    codes.CATEGORY_NOT_DIGIT: r"\P{Nd}",
}


class Untranslatable(NotCompiled):
    """The pattern means something that DuckDB cannot say; the message names it."""


def like(pattern: str, escape: str | None) -> str:
    """What stands after LIKE to match what PostgreSQL matches: a backslash escapes where nothing else does.

    Raises Untranslatable where DuckDB fails at it: it takes an escape of one byte, and an escape that
    ends the pattern fails for other values than in PostgreSQL.
    """
    escape = "\\" if escape is None else escape
    if escape not in pattern:
        return text(pattern)
    if not escape.isascii():
        raise Untranslatable(f"escape {escape}")
    if pattern.replace(escape * 2, "").endswith(escape):
        raise Untranslatable(f"pattern {pattern} ends in its escape")
    return f"{text(pattern)} ESCAPE {text(escape)}"


def translate(pattern: str) -> str:
    """A pattern of RE2 that is found in the same texts as Python's `re.search` finds this one.

    Python's classes are those of Unicode and its `$` stops before a last line break; RE2's are not.
    Raises Untranslatable for look-arounds, back references, flags and word boundaries.
    """
    try:
        parsed = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise Untranslatable(str(error)) from None
    if parsed.state.flags & ~re.UNICODE:
        raise Untranslatable("flags")
    return _sequence(parsed, last=True)


def _sequence(items: Iterable[tuple[Any, Any]], last: bool) -> str:
    found = list(items)
    return "".join(
        _item(code, value, last and place == len(found) - 1) for place, (code, value) in enumerate(found)
    )


def _item(code: Any, value: Any, last: bool) -> str:
    """One part of a pattern; `last` says that nothing may follow it in the text's match."""
    if code is codes.LITERAL:
        return _letter(value)
    if code is codes.NOT_LITERAL:
        return f"[^{_letter(value)}]"
    if code is codes.ANY:
        return r"[^\n]"
    if code is codes.IN:
        return _set(value)
    if code is codes.BRANCH:
        return f"(?:{'|'.join(_sequence(branch, last) for branch in value[1])})"
    if code is codes.SUBPATTERN:
        _, added, removed, inner = value
        if added or removed:
            raise Untranslatable("flags")
        return f"(?:{_sequence(inner, last)})"
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        return _repeat(*value)
    if code is codes.AT:
        return _anchor(value, last)
    raise Untranslatable(str(code).lower())


def _letter(point: int) -> str:
    if 0xD800 <= point <= 0xDFFF:
        raise Untranslatable("half a character")
    return f"\\x{{{point:x}}}"


def _repeat(least: int, most: Any, inner: Any) -> str:
    unbounded = most is codes.MAXREPEAT
    if least > _MOST_REPEATS or (not unbounded and most > _MOST_REPEATS):
        raise Untranslatable(f"more than {_MOST_REPEATS} repeats")
    return f"(?:{_sequence(inner, last=False)}){{{least},{'' if unbounded else most}}}"


def _anchor(value: Any, last: bool) -> str:
    if value in (codes.AT_BEGINNING, codes.AT_BEGINNING_STRING):
        return r"\A"
    if value is codes.AT_END_STRING:
        return r"\z"
    if value is codes.AT_END and last:
        return r"\n?\z"
    raise Untranslatable(str(value).lower())


def _set(items: Iterable[tuple[Any, Any]]) -> str:
    negated, found = "", ""
    for code, value in items:
        if code is codes.NEGATE:
            negated = "^"
        elif code is codes.LITERAL:
            found += _letter(value)
        elif code is codes.RANGE:
            found += f"{_letter(value[0])}-{_letter(value[1])}"
        elif code is codes.CATEGORY and value in _CLASSES:
            found += _CLASSES[value]
        elif code is codes.CATEGORY and not found and not negated and len(list(items)) == 1:
            positive = {codes.CATEGORY_NOT_SPACE: _SPACE, codes.CATEGORY_NOT_WORD: r"\p{L}\p{N}_"}
            return f"[^{positive[value]}]"
        else:
            raise Untranslatable(str(value).lower())
    return f"[{negated}{found}]"
