import itertools
import re

import duckdb
import pytest

from include.lifecycle.data.validation.patterns import Untranslatable, translate

LETTERS = ["a", "b", "\n", "é", "٣", "½", "_", " ", "\u2028", "\x1c", "A", "1", ".", "-", "漢", "\u0301", "]"]
TEXTS = ["".join(letters) for length in range(3) for letters in itertools.product(LETTERS, repeat=length)]


@pytest.mark.parametrize(
    "pattern",
    [
        r"^a$", r"a|b$", r"(a|b)+c?", r"\d+", r"\w", r"\W", r"\s", r"\S", r"[^\s\d]", r"[\w.]+$",
        r"^[A-Z]{1,2}$",
        r"^.$", r"a{2,3}", r"(a$)|b", r"\Aab\Z", r"", r"[]a]", r"[\]\-a]", r"\.", r"x*?", r"(?P<n>a)b", "é",
        r"[\D]",
        r"^$", r"^\n?$",
    ],
)  # fmt: skip
def test_a_pattern_is_found_in_the_same_texts(pattern: str) -> None:
    with duckdb.connect() as db:
        db.execute("CREATE TABLE texts (place INTEGER, said VARCHAR)")
        db.execute("INSERT INTO texts SELECT unnest(?), unnest(?)", [list(range(len(TEXTS))), TEXTS])
        query = "SELECT regexp_matches(said, ?) FROM texts ORDER BY place"
        found = db.execute(query, [translate(pattern)]).fetchall()
    assert [row for (row,) in found] == [re.search(pattern, text) is not None for text in TEXTS]


@pytest.mark.parametrize(
    "pattern", [r"(?i)a", r"a\b", r"(a)\1", r"(?=a)", r"$a", r"(?:a$)?b", r"a++", r"a{1001}", r"[\Wa]", r"("]
)
def test_what_re2_cannot_say_is_not_translated(pattern: str) -> None:
    with pytest.raises(Untranslatable):
        translate(pattern)
