"""Looks for personal data in staged columns that nobody treats: by their values, and by their names."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import duckdb
import phonenumbers
from stdnum import iban, luhn

from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.value import Value
from include.lifecycle.store.scan import connect

_log = logging.getLogger(__name__)
SAMPLE = 1_000
"""So many different candidates of a column are looked at closely."""
ALL_OF = 1_000_000
"""Of a larger partition about so many rows are searched: what is asked is what a column holds."""


class Finding(Value):
    """What a column seems to hold; never one of its values."""

    kind: str
    """mail, phone, card, iban, ip, or name where the column's name alone says so."""
    share: float
    """Share of the rows with a value that look like it."""
    sample: int
    """How many different values were looked at closely."""


@dataclass(frozen=True)
class _Kind:
    """How values of a kind are found: cheaply in all rows, then closely in some."""

    name: str
    cheap: str
    """SQL over `v`."""
    confirms: Callable[[str], bool]
    chance: float
    """How often a value that passes the cheap test is confirmed by mere chance."""
    at_least: int = 1
    """So many confirmed values are needed."""


def _is_phone(text: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, "US"))
    except phonenumbers.NumberParseException:
        return False


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_card(text: str) -> bool:
    return bool(luhn.is_valid(re.sub(r"\D", "", text)))


_MAIL = r"[A-Za-z0-9._%+-]+@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}"
_CARD = (  # issuers' prefixes: Visa, Mastercard, American Express, Discover, JCB, Diners, Maestro
    r"(4\d{12}(\d{3})?(\d{3})?|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6011\d{12}|65\d{14}|35\d{14}|3[068]\d{12}|"
    r"(50|5[6-9]|67)\d{11,17})"
)
_GROUPED_CARD = r"\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{4}|3\d{3}[ -]\d{6}[ -]\d{5}"
_IBAN = r"[A-Z]{2}\d{2}( ?[A-Z0-9]{4}){2,7}( ?[A-Z0-9]{1,4})?"
_PHONE = r"\+[1-9][\d ()./-]{6,20}\d|(\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}"
_IP = r"(\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"

# A cheap look at length or a sign comes first: an expression costs ten times as much.
_KINDS = (
    _Kind("mail", f"contains(v, '@') AND regexp_matches(v, '{_MAIL}')", lambda text: True, 0.0),
    _Kind("iban", f"length(v) BETWEEN 15 AND 42 AND regexp_full_match(v, '{_IBAN}')", iban.is_valid, 1 / 97),
    _Kind("card", f"length(v) BETWEEN 13 AND 19 AND regexp_full_match(v, '{_CARD}')", _is_card, 0.1, 3),
    _Kind("card", f"length(v) BETWEEN 17 AND 19 AND regexp_full_match(v, '{_GROUPED_CARD}')", _is_card, 0.1),
    _Kind("phone", f"length(v) BETWEEN 8 AND 22 AND regexp_full_match(v, '{_PHONE}')", _is_phone, 0.4),
    _Kind(
        "ip",
        "(v LIKE '%.%.%.%' OR v LIKE '%:%:%') AND length(v) BETWEEN 3 AND 45 "
        f"AND regexp_full_match(v, '{_IP}')",
        _is_ip,
        0.4,
    ),
)
_NAMES = re.compile(
    r"(^|_)(e?mail|phone|telephone|tel|mobile|cellphone|fax|ssn|passport|iban|surname|lastname|firstname|"
    r"fullname|forename|(first|last|full|given|family|middle|maiden)_name|birth|birthday|birthdate|dob|"
    r"address|street|zip|zipcode|postcode|post_code|postal|ip|card_number|credit_card|tax_id|national_id|"
    r"social_security)(_|$)"
)


def find_personal_data(staged: Path, spec: DatasetSpec) -> dict[str, Finding]:
    """What the columns without a treatment seem to hold, after treatment; bounded in memory."""
    found = {}
    with connect() as db:
        file = str(staged).replace("'", "''")
        (rows,) = db.execute(f"SELECT count(*) FROM read_parquet('{file}')").fetchall()[0]
        some = f" TABLESAMPLE system({100 * ALL_OF / rows:.3f}%) REPEATABLE (7)" if rows > ALL_OF else ""
        db.execute(f"CREATE VIEW staged AS FROM read_parquet('{file}'){some}")
        for column in _untreated(db, spec):
            finding = _by_values(db, column, _kinds_of(spec, column))
            if finding is None and _NAMES.search(column.lower()):
                finding = Finding(kind="name", share=1.0, sample=0)
            if finding is not None:
                found[column] = finding
    return found


def judge_personal_data(spec: DatasetSpec, found: dict[str, Finding]) -> None:
    """Warn of what was found, or raise Rejected, as the policy says."""
    if not found:
        return
    columns = ", ".join(
        f"{column} ({item.kind}{'' if item.kind == 'name' else f', {item.share:.0%} of its values'})"
        for column, item in sorted(found.items())
    )
    said = (
        f"{spec.name}: these columns look like personal data and have no treatment: {columns}. Say in "
        f"{spec.name}.yaml under columns.<name>.privacy what happens to them: drop, pseudonym, "
        "{generalise: …}, or keep"
    )
    if spec.privacy is not None and spec.privacy.untreated == "stop":
        raise Rejected(f"{said}; then clear this task. Nothing was staged")
    _log.warning(said)


def is_looked_for(spec: DatasetSpec) -> bool:
    """Whether the policy wants a look at all."""
    return spec.privacy is None or spec.privacy.untreated != "ignore"


def _untreated(db: duckdb.DuckDBPyConnection, spec: DatasetSpec) -> list[str]:
    """Staged columns that nobody said anything of; also those that the YAML does not name."""
    columns = [str(row[0]) for row in db.execute("DESCRIBE staged").fetchall()]
    return [name for name in columns if name not in spec.columns or spec.columns[name].privacy is None]


def _kinds_of(spec: DatasetSpec, column: str) -> list[_Kind]:
    """What a column can hold: a number at most a card's, a time or a truth value nothing."""
    kind = spec.columns[column].type if column in spec.columns else "string"
    if kind == "string":
        return list(_KINDS)
    return [item for item in _KINDS if item.name == "card" and kind in ("integer", "number")]


def _by_values(db: duckdb.DuckDBPyConnection, column: str, kinds: list[_Kind]) -> Finding | None:
    if not kinds:
        return None
    name = column.replace('"', '""')
    values = f'(SELECT "{name}" AS v FROM staged WHERE "{name}" IS NOT NULL)'
    counts = ", ".join(f"count(*) FILTER (WHERE {kind.cheap})" for kind in kinds)
    total, *candidates = db.execute(f"SELECT count(*), {counts} FROM {values}").fetchall()[0]
    for kind, count in zip(kinds, candidates, strict=True):
        if count and (finding := _confirmed(db, values, kind, count / total)) is not None:
            return finding
    return None


def _confirmed(db: duckdb.DuckDBPyConnection, values: str, kind: _Kind, share: float) -> Finding | None:
    """A finding when more candidates are confirmed than chance explains (by four standard errors)."""
    query = f"SELECT DISTINCT v FROM {values} WHERE {kind.cheap} LIMIT {SAMPLE}"
    sample = [row[0] for row in db.execute(query).fetchall()]
    right = sum(kind.confirms(text) for text in sample)
    by_chance = kind.chance + 4 * math.sqrt(kind.chance * (1 - kind.chance) / len(sample))
    if right < kind.at_least or right / len(sample) <= min(by_chance, 0.95):
        return None
    return Finding(kind=kind.name, share=round(share * right / len(sample), 4), sample=len(sample))
