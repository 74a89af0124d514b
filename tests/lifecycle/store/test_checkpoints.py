from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.errors import Transient
from include.lifecycle.store.checkpoints import (
    StoredCheckpoints,
    checkpoint_path,
    checkpointed_run_keys,
    remove_checkpoints,
)
from include.lifecycle.store.objects import Store

RUN, OTHER = "a" * 64, "b" * 64
AT_ONCE, LATER = timedelta(), timedelta(hours=1)


def kept(store: Store, count: int, run_key: str = RUN, fit: str = "final") -> StoredCheckpoints:
    """Checkpoints of so many segments of a fit."""
    checkpoints = StoredCheckpoints(run_key, store, AT_ONCE)
    for segment in range(count):
        checkpoints.save(fit, segment, f"{fit} {segment} of {run_key}".encode())
    return checkpoints


def newest(store: Store, run_key: str = RUN, fit: str = "final") -> bytes | None:
    """What another process finds."""
    return StoredCheckpoints(run_key, store, LATER).load(fit)


def state(segment: int, run_key: str = RUN, fit: str = "final") -> bytes:
    return f"{fit} {segment} of {run_key}".encode()


def test_another_process_finds_the_newest_state_of_each_fit(store: Store) -> None:
    assert newest(store) is None
    kept(store, 12)
    kept(store, 3, fit="gate")
    assert newest(store) == state(11)
    assert newest(store, fit="gate") == state(2, fit="gate")
    assert newest(store, fit="choosing") is None
    assert newest(store, OTHER) is None


def test_an_empty_state_is_a_state(store: Store) -> None:
    StoredCheckpoints(RUN, store, AT_ONCE).save("final", 0, b"")
    assert newest(store) == b""


def test_only_the_newest_and_the_one_before_it_stay(store: Store) -> None:
    kept(store, 12)
    assert store.list("checkpoints") == [checkpoint_path(RUN, "final", segment) for segment in (10, 11)]


@given(st.data())
def test_a_damaged_checkpoint_is_passed_by(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = Store(str(tmp_path_factory.mktemp("damaged")))
    kept(store, 3)
    path = checkpoint_path(RUN, "final", 2)
    content = store.get(path) or b""
    place = data.draw(st.integers(0, len(content) - 1))
    changed = (
        content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]
    )
    store.replace(path, data.draw(st.sampled_from([content[:place], changed, content + b"x", b""])))
    assert newest(store) == state(1)
    store.replace(checkpoint_path(RUN, "final", 1), b"torn")
    assert newest(store) is None


@pytest.mark.parametrize(
    "path",
    [
        checkpoint_path(OTHER, "final", 4),
        checkpoint_path(RUN, "gate", 4),
        checkpoint_path(RUN, "final", 3),
    ],
    ids=["of another run", "of another fit", "of another segment"],
)
def test_a_checkpoint_copied_from_elsewhere_is_not_used(store: Store, path: str) -> None:
    run_key, fit, segment = path.split("/")[1], *path.split("/")[2].split("-")
    StoredCheckpoints(run_key, store, AT_ONCE).save(fit, int(segment), b"foreign")
    foreign = store.get(path) or b""
    remove_checkpoints(run_key, store)
    kept(store, 2)
    store.replace(checkpoint_path(RUN, "final", 4), foreign)
    assert newest(store) == state(1)


def test_nothing_is_written_before_the_time_has_passed(store: Store) -> None:
    checkpoints = StoredCheckpoints(RUN, store, LATER)
    for segment in range(3):
        checkpoints.save("final", segment, state(segment))
    checkpoints.after_round("final", 3)
    assert store.list("checkpoints") == []


def test_who_is_told_to_end_writes_what_is_finished_and_says_where_it_goes_on(store: Store) -> None:
    told: list[bool] = []
    checkpoints = StoredCheckpoints(RUN, store, LATER, lambda: bool(told))
    checkpoints.save("gate", 1, state(1, fit="gate"))
    checkpoints.save("final", 0, state(0))
    checkpoints.save("final", 1, state(1))
    told.append(True)
    with pytest.raises(Transient, match="terminated: will go on from tree 20 of the final fit"):
        checkpoints.after_round("final", 20)
    assert (newest(store, fit="gate"), newest(store)) == (state(1, fit="gate"), state(1))
    assert len(store.list("checkpoints")) == 2


def test_a_store_that_does_not_answer_stops_no_training(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    checkpoints = kept(store, 0)
    in_the_way = tmp_path / "store/checkpoints"
    in_the_way.write_text("a file in the way of the checkpoints")
    checkpoints.save("gate", 7, state(7, fit="gate"))
    checkpoints.save("final", 0, state(0))
    in_the_way.unlink()
    checkpoints.save("final", 1, state(1))
    assert (newest(store, fit="gate"), newest(store)) == (state(7, fit="gate"), state(1))


def test_the_checkpoints_of_a_run_are_removed_and_no_others(store: Store) -> None:
    kept(store, 3)
    kept(store, 3, fit="gate")
    kept(store, 3, OTHER)
    assert checkpointed_run_keys(store) == [RUN, OTHER]
    remove_checkpoints(RUN, store)
    remove_checkpoints(RUN, store)
    assert checkpointed_run_keys(store) == [OTHER]
    assert newest(store) is None
    assert newest(store, OTHER) == state(2, OTHER)
