from __future__ import annotations

from typing import Any

import msgspec
import pytest

from include.lifecycle.model.predictor import BadInput
from include.serving.invocations import decode

WANTED = ("a", "b", "key")


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["b", "x", "a"], "data": [[3, 0, 1], [4, 0, 2]], "index": [0, 1]}},
        {"dataframe_records": [{"a": 1, "b": 3, "x": 0}, {"b": 4, "a": 2}]},
        {"inputs": {"a": [1, 2], "b": [3, 4], "x": "ignored"}},
        {"inputs": [{"a": 1, "b": 3}, {"a": 2, "b": 4}], "params": {}},
        {"instances": [{"a": 1, "b": 3}, {"a": 2, "b": 4}]},
        {"instances": {"a": [1, 2], "b": [3, 4]}},
    ],
)
def test_every_form_gives_the_wanted_columns(body: dict[str, Any]) -> None:
    assert decode(msgspec.json.encode(body), WANTED) == {"a": [1, 2], "b": [3, 4]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "give one of dataframe_split, dataframe_records, inputs, instances; found none"),
        ({"rows": []}, "found none of them"),
        ({"inputs": {}, "instances": []}, "found inputs and instances"),
        ([], "Expected `object`, got `array`"),
        ({"dataframe_records": []}, "dataframe_records: no rows"),
        ({"instances": [[1, 2]]}, "instances: expected rows such as"),
        ({"instances": [1, 2]}, "instances: expected rows such as"),
        ({"instances": None}, r"\$.instances"),
        ({"dataframe_records": [{"a": 1}, {}]}, "a: missing in row 1 of dataframe_records"),
        ({"dataframe_records": {"a": 1}}, r"\$.dataframe_records"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}, "row 0 has 1 values for 2 columns"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [1, 2, 3]]}}, "row 1 has 3 values"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, "named twice"),
        ({"dataframe_split": {"data": [[1]]}}, "`columns` - at `\\$.dataframe_split`"),
        ({"inputs": {"a": 1}}, "a: expected a list of values in inputs"),
    ],
)
def test_a_body_of_another_form_is_refused_with_the_place(body: Any, words: str) -> None:
    with pytest.raises((BadInput, msgspec.ValidationError), match=words):
        decode(msgspec.json.encode(body), WANTED)
