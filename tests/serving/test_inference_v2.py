from __future__ import annotations

from typing import Any

import msgspec
import pytest

from include.lifecycle.model.predictor import BadInput
from include.serving.inference_v2 import decode


def body(**changes: Any) -> bytes:
    tensor = {"name": "a", "shape": [2], "datatype": "FP64", "data": [1.5, 2.0], **changes}
    return msgspec.json.encode({"inputs": [tensor], "id": "mine"})


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("FP64", [1.5, None]),
        ("FP32", [1, 2.5]),
        ("INT64", [1, 2]),
        ("INT32", [1, None]),
        ("BOOL", [True, False]),
        ("BYTES", ["x", None]),
    ],
)
def test_every_datatype_is_read_flat_and_nested(datatype: str, data: list[Any]) -> None:
    assert decode(body(datatype=datatype, data=data), ("a",)) == ({"a": data}, "mine")
    nested = [[value] for value in data]
    assert decode(body(datatype=datatype, data=nested, shape=[2, 1]), ("a",))[0] == {"a": data}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datatype": "FP16"}, "a: datatype 'FP16' is not supported; use one of FP64"),
        ({"datatype": "BYTES"}, "a: row 0: float is not BYTES"),
        ({"datatype": "INT64"}, "a: row 0: float is not INT64"),
        ({"data": [True, False]}, "a: row 0: bool is not FP64"),
        ({"shape": [3]}, r"a: shape \[3\], but data has 2 values"),
        ({"shape": [1, 2]}, r"a: shape \[1, 2\] is not \[rows\] or \[rows, 1\]"),
        ({"shape": []}, r"a: shape \[\] is not"),
        ({"shape": [-1]}, "but data has 2 values"),
        ({"shape": [2, 1], "data": [[1, 2], [3]]}, "a: a row of data has 2 values"),
        ({"data": 5}, r"\$.inputs\[.*\].data"),
        ({"name": None}, r"\$.inputs\[.*\].name"),
    ],
)
def test_a_wrong_tensor_is_refused_with_its_name_or_place(changes: dict[str, Any], words: str) -> None:
    with pytest.raises((BadInput, msgspec.ValidationError), match=words):
        decode(body(**changes), ("a",))


def test_a_column_given_twice_is_refused() -> None:
    tensor = {"name": "a", "shape": [1], "datatype": "FP64", "data": [1]}
    with pytest.raises(BadInput, match="a: given twice"):
        decode(msgspec.json.encode({"inputs": [tensor, tensor]}), ("a",))


def test_an_output_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadInput, match="no output 'label'; this model has 'score'"):
        decode(b'{"inputs": [], "outputs": [{"name": "label"}]}', ("a",))


@pytest.mark.parametrize("request_id", ["\n", "a\r\nX-Model: b", "é", "\u2603", "\x7f", "x" * 201])
def test_an_id_that_fits_in_no_header_is_refused(request_id: str) -> None:
    with pytest.raises(BadInput, match="id: use at most 200 printable ASCII characters"):
        decode(msgspec.json.encode({"inputs": [], "id": request_id}), ("a",))
