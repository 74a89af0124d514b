"""What becomes of values: pseudonyms, ranges, periods, prefixes; nothing raw in an error."""

from __future__ import annotations

import hmac
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.data.privacy.erased import remember
from include.lifecycle.data.privacy.pseudonyms import keys_of
from include.lifecycle.data.privacy.treatment import treatment_inputs, treatment_of, treatments
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.store.connections import Connection
from include.lifecycle.store.objects import Store
from tests.lifecycle.people import KEY, NEXT_KEY, connections, connections_with


def _spec(timezone: str = "UTC", **columns: Any) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {
            "name": "people",
            "description": "people",
            "partition": "day",
            "timezone": timezone,
            "schedule": {"start": "2024-01-01"},
            "source": {"type": "files", "path": "{partition:%Y-%m-%d}.csv"},
            "columns": {"who": {"type": "string", "privacy": "pseudonym"}, "at": "timestamp", **columns},
            "key": ["who"],
            "event_time": "at",
            "privacy": {"key": "people", "subject": "who"},
        }
    )


def _treated(store: Store, values: list[str | None], kind: str, by: dict[str, Any], **more: Any) -> list[Any]:
    spec = _spec(x={"type": kind, "privacy": {"generalise": by}}, **more)
    batch = pa.RecordBatch.from_pydict(
        {
            "who": pa.array(["a"] * len(values)),
            "at": pa.nulls(len(values), pa.string()),
            "x": pa.array(values, pa.string()),
        }
    )
    found: list[Any] = treatment_of(spec, connections, store)(batch).column("x").to_pylist()
    return found


def _people(names: list[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {"who": pa.array(names, pa.string()), "at": pa.array(names, pa.string())}
    )


def test_a_pseudonym_is_the_keyed_hash_under_the_keys_name(store: Store) -> None:
    treat = treatment_of(_spec(), connections, store)
    expected = "k1_" + hmac.digest(KEY.encode(), "é@x".encode(), "sha256").hex()[:32]
    assert treat(_people(["é@x", None, "", "é@x"])).column("who").to_pylist() == [
        expected,
        None,
        "",
        expected,
    ]


@given(names=st.lists(st.none() | st.text(alphabet="abc", max_size=3), max_size=40))
def test_pseudonyms_are_equal_exactly_where_values_are(
    tmp_path_factory: pytest.TempPathFactory, names: list[str | None]
) -> None:
    store = Store(str(tmp_path_factory.mktemp("store")))
    found = treatment_of(_spec(), connections, store)(_people(names)).column("who").to_pylist()
    assert len(found) == len(names)
    assert len(set(zip(names, found, strict=True))) == len(set(names)) == len(set(found))


@pytest.mark.parametrize(
    ("width", "kind", "value", "start"),
    [
        (10, "integer", "37", "30"),
        (10, "integer", "-1", "-10"),
        (0.1, "number", "0.3", "0.3"),
        (2.5, "number", "7.4", "5.0"),
        (1000, "number", "999.99", "0"),
        (10, "integer", "thirty", "<not a number>"),
        (10, "number", "nan", "<not a number>"),
        (10, "number", "49301234567890123456", "<not a number>"),
        (10, "integer", None, None),
    ],
)
def test_a_number_becomes_the_start_of_its_range(
    store: Store, width: float, kind: str, value: str | None, start: str | None
) -> None:
    assert _treated(store, [value], kind, {"width": width}) == [start]


@given(value=st.floats(-1e6, 1e6), width=st.sampled_from([0.5, 1.0, 5.0, 10.0]))
def test_a_number_lies_in_its_range(
    tmp_path_factory: pytest.TempPathFactory, value: float, width: float
) -> None:
    store = Store(str(tmp_path_factory.mktemp("store")))
    start = float(_treated(store, [repr(value)], "number", {"width": width})[0])
    assert start - 1e-6 <= value < start + width + 1e-6
    assert start / width == int(start / width)


def test_a_time_becomes_the_start_of_its_period_where_the_dataset_lives(store: Store) -> None:
    spec = _spec("Europe/Berlin", x={"type": "timestamp", "privacy": {"generalise": {"period": "month"}}})
    batch = pa.RecordBatch.from_pydict(
        {
            "who": ["a"] * 4,
            "at": ["t"] * 4,
            "x": pa.array(["1980-05-17", "1980-04-30T23:30:00Z", "17th of May", None], pa.string()),
        }
    )
    found = treatment_of(spec, connections, store)(batch).column("x").to_pylist()
    assert found == ["1980-05-01T00:00:00+02", "1980-05-01T00:00:00+02", "<not a time>", None]


def test_a_text_keeps_its_prefix(store: Store) -> None:
    assert _treated(store, ["10115", "ÄÖÜß", "1", None], "string", {"prefix": 3}) == ["101", "ÄÖÜ", "1", None]


def test_a_width_that_no_whole_number_fits_is_refused(store: Store) -> None:
    with pytest.raises(Rejected, match=r"columns.x.privacy: an integer needs a whole width, not 2.5"):
        _treated(store, ["1"], "integer", {"width": 2.5})


def test_a_dropped_column_is_gone_and_one_without_treatment_stays(store: Store) -> None:
    spec = _spec(gone={"type": "string", "privacy": "drop"}, here="string")
    batch = pa.RecordBatch.from_pydict({name: ["v"] for name in ("who", "at", "gone", "here", "new")})
    treated = treatment_of(spec, connections, store)(batch)
    assert treated.schema.names == ["who", "at", "here", "new"]
    assert treatments(spec) == {"who": "pseudonym", "gone": "drop"}


def test_rows_of_erased_people_are_left_out_also_after_the_key_was_rotated(store: Store) -> None:
    spec = _spec()
    remember(spec, "ada", keys_of(spec, connections), store, {})
    rotated = connections_with(login="k2", password=NEXT_KEY, k1=KEY)
    for known in (connections, rotated):
        treated = treatment_of(spec, known, store)(_people(["bob", "ada", None, "eve"]))
        assert treated.column("at").to_pylist() == ["bob", None, "eve"]


def test_erased_people_need_the_key_they_were_erased_under(store: Store) -> None:
    spec = _spec()
    remember(spec, "ada", keys_of(spec, connections), store, {})
    with pytest.raises(Rejected, match="key 'k1' is not in the connection any more"):
        treatment_of(spec, connections_with(login="k2", password=NEXT_KEY), store)


def test_what_a_treatment_depends_on_names_the_key_and_never_is_one(store: Store) -> None:
    spec = _spec()
    before = treatment_inputs(spec, connections, store)
    assert before["key"].startswith("k1:")
    assert KEY not in str(before)
    remember(spec, "ada", keys_of(spec, connections), store, {})
    assert set(treatment_inputs(spec, connections, store)) == {"key", "erased"}
    assert "ada" not in str(store.list("erasures"))


def test_a_dataset_without_a_policy_depends_on_nothing(store: Store) -> None:
    plain = _spec().model_copy(update={"privacy": None})
    assert treatment_inputs(plain, connections, store) == {}


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        (Connection(password="x" * 15), "key 'k1' is missing or shorter than 16 bytes"),
        (Connection(login="my key", password=KEY), "a key's name is up to 32 letters"),
        (Connection(password=KEY, extra={"secret_keys": {"k0": "x"}}), "key 'k0' is missing or shorter"),
        (Connection(password=KEY, extra={"secret_keys": {"k1": NEXT_KEY}}), "'k1' names two keys"),
        (Connection(password=KEY, extra={"secret_keys": "k0"}), "write retired keys into its extra"),
    ],
)
def test_a_connection_that_holds_no_good_key_is_refused(connection: Connection, message: str) -> None:
    with pytest.raises(Rejected, match=message) as error:
        keys_of(_spec(), lambda name: connection)
    assert KEY not in str(error.value)
    assert KEY not in repr(connection)


def test_keys_do_not_show_when_printed() -> None:
    assert KEY not in repr(keys_of(_spec(), connections_with(k0=NEXT_KEY)))
    assert NEXT_KEY not in repr(keys_of(_spec(), connections_with(k0=NEXT_KEY)))
