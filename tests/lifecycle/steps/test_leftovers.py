"""What nobody needs goes; nothing that anybody needs ever does, whatever was killed and begun again."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.steps.leftovers import (
    Cleaned,
    Document,
    clean_store,
    stale_checkpoints,
    unnamed_outputs,
)
from include.lifecycle.store.checkpoints import checkpoint_path, checkpointed_run_keys
from include.lifecycle.store.objects import Output, Store, object_path
from include.lifecycle.store.receipts import (
    Call,
    Receipt,
    call_path,
    read_receipt,
    receipt_path,
    write_call,
    write_receipt,
)

NOW = datetime(2024, 3, 10, tzinfo=UTC)
DAY = timedelta(days=1)
OLD, YOUNG = NOW - 2 * DAY, NOW - DAY / 2
A, B = "a" * 64, "b" * 64


def _call(number: int = 0, **inputs: object) -> Call:
    return Call(step="extract", spec={"n": number}, inputs=inputs, as_of=NOW, code="c" * 64)


def _receipt(call: Call, outputs: Mapping[str, Output]) -> Receipt:
    return Receipt(call=call, outputs=dict(outputs), started=NOW)


def _days_pass(store: Store, days: float = 2) -> None:
    for file in Path(store.uri).rglob("*"):
        then = file.stat().st_mtime - days * 86_400
        os.utime(file, (then, then))


def _clean(store: Store) -> Cleaned:
    return clean_store(store, datetime.now(UTC), DAY)


def _removed(cleaned: Cleaned) -> list[str]:
    return [item.path for item in cleaned.removed]


def _named(*digests: str) -> dict[str, Document]:
    return {"calls/x.json": Document(digests=frozenset(digests), damaged=False)}


def test_an_output_goes_when_nothing_names_it_and_it_is_old() -> None:
    written = {object_path(A): OLD, object_path(B): OLD}
    (gone,) = unnamed_outputs(written, _named(A), NOW - DAY)
    assert (gone.path, gone.why) == (
        object_path(B),
        "nothing names it since it was written, 2024-03-08 00:00 UTC",
    )


def test_an_output_of_today_may_yet_get_its_receipt() -> None:
    assert unnamed_outputs({object_path(A): YOUNG}, {}, NOW - DAY) == []


def test_checkpoints_go_with_the_receipt_or_when_nobody_goes_on() -> None:
    newest, oldest = checkpoint_path(A, "final", 2), checkpoint_path(A, "final", 1)
    assert stale_checkpoints({oldest: OLD, newest: YOUNG}, (), NOW - DAY) == []
    done = stale_checkpoints({newest: YOUNG}, (receipt_path(A),), NOW - DAY)
    assert [(item.path, item.why) for item in done] == [(newest, "its step is done")]
    given_up = stale_checkpoints({oldest: OLD, newest: OLD}, (receipt_path(B),), NOW - DAY)
    assert [item.path for item in given_up] == [oldest, newest]
    assert given_up[0].why == "nobody went on from it since 2024-03-08 00:00 UTC"


def test_half_a_step_is_removed_and_a_second_look_finds_nothing(store: Store) -> None:
    kept, half = store.keep(b"kept"), store.keep(b"half")
    done = _receipt(_call(1), {"rows": kept})
    write_receipt(done, store)
    store.replace(checkpoint_path(done.run_key, "final", 1), b"trees")
    _days_pass(store)
    assert set(_removed(_clean(store))) == {
        object_path(half.sha256),
        checkpoint_path(done.run_key, "final", 1),
    }
    assert read_receipt(done.run_key, store) == done
    assert _clean(store) == Cleaned(removed=(), damaged=())


@pytest.mark.parametrize("place", ["calls/x.json", "ledger/late/1.json", "releases/late.json", "new/thing"])
def test_whatever_names_an_output_keeps_it(store: Store, place: str) -> None:
    output = store.keep(b"needed")
    store.replace(place, f'{{"uri":"s3://x/{output.sha256}"}}'.encode())
    _days_pass(store)
    assert _clean(store).removed == ()
    assert store.is_intact(output)


def test_an_output_that_is_kept_again_while_the_janitor_looks_stays(tmp_path: Path) -> None:
    class Busy(Store):
        """A step at work keeps the same bytes again, right after the janitor listed them."""

        def written(self, prefix: str) -> dict[str, datetime]:
            listed = super().written(prefix)
            self.keep(b"again")
            return listed

    store = Busy(str(tmp_path / "store"))
    output = store.keep(b"again")
    _days_pass(store)
    assert _clean(store).removed == ()
    write_receipt(_receipt(_call(), {"rows": output}), store)
    _days_pass(store)
    assert store.is_intact(output)


def test_a_damaged_record_is_told_and_stays_as_do_outputs_that_it_may_have_named(store: Store) -> None:
    output, other = store.keep(b"one"), _call(1)
    done = write_receipt(_receipt(_call(), {"rows": output}), store)
    write_call(other, store)
    path = receipt_path(done.run_key)
    store.replace(path, b"")
    store.replace(call_path(other.run_key), b"{}")
    _days_pass(store)
    assert _clean(store) == Cleaned(removed=(), damaged=(call_path(other.run_key), path))
    assert store.is_intact(output)


def test_a_file_that_a_killed_process_had_half_written_goes(store: Store) -> None:
    folder = Path(store.uri, "tables/trips")
    folder.mkdir(parents=True)
    (folder / "rows.parquet#1").write_bytes(b"half")
    assert _clean(store).removed == ()
    _days_pass(store)
    assert _removed(_clean(store)) == ["tables/trips/rows.parquet#1"]
    assert list(folder.iterdir()) == []


def test_where_not_everything_can_be_read_nothing_is_removed(tmp_path: Path) -> None:
    class Failing(Store):
        """A store that answers no question about calls."""

        def get(self, path: str) -> bytes | None:
            if path.startswith("calls/"):
                raise TimeoutError(path)
            return super().get(path)

    store = Failing(str(tmp_path / "store"))
    output = store.keep(b"needed")
    write_call(_call(features=output.sha256), store)
    _days_pass(store)
    with pytest.raises(TimeoutError):
        _clean(store)
    assert store.is_intact(output)


_STEP = st.tuples(
    st.sampled_from(["done", "killed"]),
    st.integers(0, 5),  # which call
    st.lists(st.integers(0, 4), max_size=3),  # what it keeps: calls share outputs
    st.booleans(),  # whether its call names one more
)
_LIFE = st.lists(st.one_of(_STEP, st.sampled_from(["night", "janitor"])), max_size=25)


@given(life=_LIFE)
def test_after_any_life_every_receipt_is_whole_and_what_nobody_names_is_gone(
    tmp_path: Path, life: list[Any]
) -> None:
    store = Store(str(tmp_path / uuid.uuid4().hex))
    for event in [*life, "night", "janitor"]:
        if event == "night":
            _days_pass(store)
        elif event == "janitor":
            _clean(store)
        else:
            how, number, contents, names = event
            outputs = {str(item): store.keep(str(item).encode()) for item in contents}
            if how == "done":
                call = _call(number, features=[store.keep(b"features").sha256] if names else [])
                write_call(call, store)
                write_receipt(_receipt(call, outputs), store)
    receipts = [read_receipt(Path(path).stem, store) for path in store.list("receipts")]
    needed = {output.sha256 for receipt in receipts for output in receipt.outputs.values()}
    needed |= {digest for receipt in receipts for digest in receipt.call.inputs["features"]}
    assert {Path(path).name for path in store.list("objects")} == needed


@pytest.mark.s3
def test_a_bucket_is_cleaned_as_a_folder_is() -> None:
    if "AWS_ENDPOINT_URL" not in os.environ:
        pytest.skip("AWS_ENDPOINT_URL names no S3")
    store = Store(f"s3://lake/test-{uuid.uuid4().hex}")
    named, half, again = (store.keep(name) for name in (b"named", b"half", b"again"))
    write_receipt(_receipt(_call(), {"rows": named}), store)
    store.replace(checkpoint_path(_call().run_key, "final", 1), b"trees")
    time.sleep(2.1)
    store.keep(b"again")
    cleaned = clean_store(store, datetime.now(UTC), timedelta(seconds=1.5))
    assert set(_removed(cleaned)) == {object_path(half.sha256), checkpoint_path(_call().run_key, "final", 1)}
    assert store.is_intact(named)
    assert store.is_intact(again)
    assert checkpointed_run_keys(store) == []
