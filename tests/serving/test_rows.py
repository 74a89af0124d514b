from __future__ import annotations

from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.lifecycle.model.predictor import BadInput, Predictor, as_columns
from include.serving.rows import check_rows, layout_of
from tests.serving.released import ROW, score


@pytest.fixture(scope="module")
def predictor(packages: dict[str, Path]) -> Predictor:
    return Predictor(packages["1"])


def columns(**changes: Any) -> dict[str, list[Any]]:
    return {name: [value] for name, value in {**ROW, **changes}.items()}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("carrier", 5, "row 0: 5 is not a string"),
        ("carrier", ["UA"], "row 0: list is not a string"),
        ("distance", "812", "row 0: '812' is not a number"),
        ("distance", True, "row 0: True is not a number"),
        ("distance", float("nan"), "row 0: nan is not a finite number"),
        ("distance", float("inf"), "row 0: inf is not a finite number"),
        ("distance", 10**400, "row 0: the number is too large"),
        ("distance", [1.0], "row 0: list is not a number"),
        ("stops", 1.5, "row 0: 1.5 is not an integer"),
        ("weekend", "yes", "row 0: 'yes' is not a boolean"),
        ("time_hour", 5, "row 0: 5 is not a timestamp"),
        ("time_hour", "now", "row 0: 'now' is not a timestamp"),
        ("time_hour", "0001-01-01T00:00:00+05:00", "is not a timestamp"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_field_and_row(
    predictor: Predictor, field: str, value: Any, words: str
) -> None:
    with pytest.raises(BadInput) as refused:
        check_rows(columns(**{field: value}), layout_of(predictor))
    assert str(refused.value).startswith(f"{field}: ")
    assert words in str(refused.value)
    many = {name: values * 20 for name, values in columns().items()}
    many[field][13] = value
    with pytest.raises(BadInput) as refused:
        check_rows(many, layout_of(predictor))
    assert str(refused.value).startswith(f"{field}: ")
    assert words.replace("row 0", "row 13") in str(refused.value)


def test_a_missing_column_is_named_with_those_that_are_needed(predictor: Predictor) -> None:
    given_columns = columns()
    del given_columns["distance"]
    with pytest.raises(BadInput, match=r"^distance: missing; the model needs carrier, distance"):
        check_rows(given_columns, layout_of(predictor))


def test_columns_of_different_lengths_are_refused(predictor: Predictor) -> None:
    with pytest.raises(BadInput, match="stops: 2 values, but carrier has 1"):
        check_rows({**columns(), "stops": [1, 2]}, layout_of(predictor))


def test_no_rows_are_refused(predictor: Predictor) -> None:
    with pytest.raises(BadInput, match="no rows"):
        check_rows({name: [] for name in ROW}, layout_of(predictor))


def test_a_key_must_be_a_plain_value(predictor: Predictor) -> None:
    with pytest.raises(BadInput, match="flight_id: row 0: dict is not a key"):
        check_rows(columns(flight_id={}), layout_of(predictor))


def test_missing_values_are_null(predictor: Predictor) -> None:
    rows = check_rows({name: [None] for name in ROW}, layout_of(predictor))
    assert rows.inputs == {name: [None] for name in ROW}
    assert predictor.predict_columns(rows.typed).shape == (1,)


def test_one_instant_in_any_zone_gives_one_score_and_one_log_entry(
    predictor: Predictor, packages: dict[str, Path]
) -> None:
    for text in (
        "2013-01-31T09:00:00-05:00",
        "2013-01-31 14:00",
        "2013-01-31T14:00:00+00:00",
        "20130131T140000Z",
    ):
        rows = check_rows(columns(time_hour=text), layout_of(predictor))
        assert predictor.predict_columns(rows.typed).tolist() == [score(packages["1"])]
        assert rows.event_times == [datetime(2013, 1, 31, 14, tzinfo=UTC)]


def test_a_number_beyond_64_bits_can_still_be_written_as_json(predictor: Predictor) -> None:
    assert check_rows(columns(distance=10**30), layout_of(predictor)).inputs["distance"] == [1e30]
    many = {name: values * 20 for name, values in columns().items()}
    many["distance"][13:15] = [10**30, None]
    assert check_rows(many, layout_of(predictor)).inputs["distance"][12:16] == [812.5, 1e30, None, 812.5]


@pytest.mark.parametrize("others", [{}, {"carrier": "string", "weekend": "boolean", "stops": "integer"}])
@pytest.mark.parametrize("count", [1, 5])
def test_inputs_are_typed_as_for_training_and_logged_as_they_were_sent(
    predictor: Predictor, others: dict[str, str], count: int
) -> None:
    predictor = copy(predictor)
    predictor.inputs = kinds = {"distance": "number", **others, "delay": "number", "wind": "number"}
    sent: dict[str, list[Any]] = {
        "distance": [1, 2.5, None, -3, 2**53][:count],
        "delay": [None, 0.1, 0.2, 0.3, 0.4][:count],
        "wind": [10, 20, 30, 40, 50][:count],
        "carrier": ["UA", None, "AA", "", "B6"][:count],
        "weekend": [True, None, False, 1, 0][:count],
        "stops": [2, None, -3.0, 0, 7][:count],
    }
    found, wanted = check_rows(sent, layout_of(predictor)), as_columns(sent, kinds)
    assert list(found.typed) == list(found.inputs) == list(kinds)
    for name in kinds:
        assert found.inputs[name] == sent[name]
        assert found.typed[name].dtype == wanted[name].dtype
        np.testing.assert_array_equal(found.typed[name], wanted[name])


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({}, optional={name: st.lists(_anything, max_size=2) for name in ROW}))
def test_whatever_comes_is_answered_or_refused(predictor: Predictor, found: dict[str, list[Any]]) -> None:
    try:
        rows = check_rows(found, layout_of(predictor))
    except BadInput:
        return
    assert predictor.predict_columns(rows.typed).shape == (rows.count,)
