from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.lifecycle.errors import Tampered
from include.lifecycle.spec.value import canonical_json, sha256
from include.lifecycle.store.objects import Output, Store, object_path
from include.lifecycle.store.receipts import (
    Call,
    Receipt,
    call_path,
    find_receipt,
    read_call,
    read_receipt,
    receipt_path,
    write_call,
    write_receipt,
)

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
CALL = Call(step="train", spec={"a": 1}, inputs={"b": "2"}, as_of=AS_OF, code="c" * 64, seed=3)


def _receipt(store: Store, *outputs: bytes, call: Call = CALL) -> Receipt:
    kept = {f"output{index}": store.keep(content) for index, content in enumerate(outputs)}
    return Receipt(call=call, outputs=kept, counts={"rows": 7}, results={"why": "ä"}, started=AS_OF)


def test_a_receipt_reads_back_as_it_was_written(store: Store) -> None:
    written = write_receipt(_receipt(store, b"one", b"two"), store)
    assert read_receipt(CALL.run_key, store) == written
    assert find_receipt(CALL.run_key, store) == written


def test_a_receipt_that_was_written_before_attempts_were_recorded_is_still_valid(store: Store) -> None:
    body = _receipt(store, b"one").model_dump(mode="json", exclude={"attempt"})
    content = canonical_json({"receipt": body, "sha256": sha256(canonical_json(body))})
    store.put_if_absent(receipt_path(CALL.run_key), content)
    assert read_receipt(CALL.run_key, store).attempt is None


def test_without_a_receipt_the_step_was_not_done(store: Store) -> None:
    assert find_receipt(CALL.run_key, store) is None
    with pytest.raises(Tampered, match="missing"):
        read_receipt(CALL.run_key, store)


@given(data=st.data())
@settings(max_examples=80)
def test_any_changed_byte_of_a_receipt_is_found(store: Store, data: st.DataObject) -> None:
    written = write_receipt(_receipt(store, b"one"), store)
    path = receipt_path(written.run_key)
    content = bytearray(store.get(path) or b"")
    intact = bytes(content)
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    store.replace(path, bytes(content))
    try:
        with pytest.raises(Tampered):
            read_receipt(written.run_key, store)
        with pytest.raises(Tampered):
            find_receipt(written.run_key, store)
    finally:
        store.replace(path, intact)


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_cut_receipt_is_found(store: Store, cut: int) -> None:
    write_receipt(_receipt(store), store)
    path = receipt_path(CALL.run_key)
    store.replace(path, (store.get(path) or b"")[:cut])
    with pytest.raises(Tampered):
        read_receipt(CALL.run_key, store)


def test_the_receipt_of_another_call_is_not_taken_for_this_one(store: Store) -> None:
    other = write_receipt(_receipt(store, call=CALL.model_copy(update={"seed": 4})), store)
    store.replace(receipt_path(CALL.run_key), store.get(receipt_path(other.run_key)) or b"")
    with pytest.raises(Tampered):
        read_receipt(CALL.run_key, store)


@given(position=st.integers(0, 5), flip=st.integers(1, 255))
@settings(max_examples=20)
def test_any_changed_byte_of_an_output_is_found(store: Store, position: int, flip: int) -> None:
    written = write_receipt(_receipt(store, b"intact", b"output"), store)
    for output in written.outputs.values():
        path = object_path(output.sha256)
        intact = store.get(path) or b""
        content = bytearray(intact)
        content[position] ^= flip
        store.replace(path, bytes(content))
        try:
            with pytest.raises(Tampered, match="output"):
                find_receipt(written.run_key, store)
        finally:
            store.replace(path, intact)


def test_a_missing_output_is_found(store: Store) -> None:
    receipt = _receipt(store).model_copy(update={"outputs": {"gone": Output(sha256="0" * 64, size=1)}})
    write_receipt(receipt, store)
    with pytest.raises(Tampered, match="output gone is missing or changed"):
        read_receipt(CALL.run_key, store)


def test_the_second_runner_of_a_call_gets_the_first_ones_receipt(store: Store) -> None:
    first = write_receipt(_receipt(store, b"mine"), store)
    assert write_receipt(_receipt(store, b"yours"), store) == first
    assert read_receipt(CALL.run_key, store) == first


def test_a_call_is_recorded_once_and_read_back(store: Store) -> None:
    assert write_call(CALL, store) == write_call(CALL, store)
    assert read_call(CALL.run_key, store) == CALL


@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_changed_or_missing_call_is_found(store: Store, content: bytes | None) -> None:
    if content is not None:
        store.replace(call_path(CALL.run_key), content)
    with pytest.raises(Tampered, match="missing or changed"):
        read_call(CALL.run_key, store)


def test_the_run_key_is_the_same_in_every_process_and_order() -> None:
    assert CALL.run_key == "f4238e795c4ff0902e70bb146da24407a431232bd70674964473445c08030bae"
    turned = Call(seed=3, code="c" * 64, as_of=AS_OF, inputs={"b": "2"}, spec={"a": 1}, step="train")
    assert turned.run_key == CALL.run_key


@pytest.mark.parametrize(
    "change",
    [
        {"step": "measure"},
        {"spec": {"a": 2}},
        {"spec": {"a": 1, "b": None}},
        {"inputs": {"b": "3"}},
        {"inputs": {}},
        {"as_of": AS_OF + timedelta(microseconds=1)},
        {"code": "d" * 64},
        {"seed": 4},
    ],
)
def test_the_run_key_depends_on_every_field(change: dict[str, Any]) -> None:
    assert Call(**{**CALL.model_dump(), **change}).run_key != CALL.run_key


def test_the_list_of_changes_above_covers_every_field() -> None:
    assert set(Call.model_fields) == {"step", "spec", "inputs", "as_of", "code", "seed"}


def test_the_run_key_does_not_depend_on_how_the_time_zone_is_written() -> None:
    elsewhere = datetime.fromisoformat("2024-03-01T02:00:00+02:00")
    assert Call(**{**CALL.model_dump(), "as_of": elsewhere}).run_key == CALL.run_key
