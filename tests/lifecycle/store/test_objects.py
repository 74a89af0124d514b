import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.lifecycle.errors import Rejected, Tampered, Transient
from include.lifecycle.store.objects import Output, Store, object_path, open_store


def _damage(store: Store, output: Output, content: bytes) -> None:
    store.replace(object_path(output.sha256), content)


def test_of_sixteen_writers_one_wins_and_its_bytes_stay(store: Store) -> None:
    gate = Barrier(16)

    def write(number: int) -> bool:
        gate.wait()
        return store.put_if_absent("race/one", str(number).encode())

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(write, range(16)))
    assert sum(won) == 1
    assert store.get("race/one") == str(won.index(True)).encode()


def test_a_second_write_changes_nothing(store: Store) -> None:
    assert store.put_if_absent("a/b", b"first")
    assert not store.put_if_absent("a/b", b"second")
    assert store.get("a/b") == b"first"


def test_a_projection_may_be_replaced(store: Store) -> None:
    store.replace("a/b", b"first")
    store.replace("a/b", b"second")
    assert store.get("a/b") == b"second"


def test_what_is_not_there_reads_as_none(store: Store) -> None:
    assert store.get("nothing/here") is None


def test_paths_are_listed_in_order_and_below_their_prefix_only(store: Store) -> None:
    for path in ("ledger/late/000002.json", "ledger/late/000001.json", "ledger/later/000001.json"):
        store.put_if_absent(path, b"{}")
    assert store.list("ledger/late/") == ["ledger/late/000001.json", "ledger/late/000002.json"]
    assert store.list("ledger/none/") == []


@settings(max_examples=15)
@given(content=st.binary(max_size=200))
def test_an_object_is_named_by_its_content(store: Store, content: bytes) -> None:
    output = store.keep(content)
    assert store.keep(content) == output
    assert store.read(output) == content
    assert output.size == len(content)


def test_a_file_is_kept_under_the_same_name_as_its_bytes(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 300_000)
    output = store.keep_file(file)
    assert output == store.keep(b"x" * 300_000)
    assert store.fetch(output, tmp_path / "back").read_bytes() == b"x" * 300_000


def test_two_runners_may_keep_the_same_file_at_once(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(uuid.uuid4().bytes * 1000)
    with ThreadPoolExecutor(8) as pool:
        outputs = set(pool.map(lambda _: store.keep_file(file), range(8)))
    assert len(outputs) == 1
    assert store.is_intact(outputs.pop())


@pytest.mark.parametrize("damaged", [b"gooe", b"goo", b"good!", b""])
def test_a_changed_object_is_found_however_it_is_read(store: Store, tmp_path: Path, damaged: bytes) -> None:
    output = store.keep(b"good")
    assert store.is_intact(output)
    _damage(store, output, damaged)
    assert not store.is_intact(output)
    with pytest.raises(Tampered, match="missing or changed"):
        store.read(output)
    with pytest.raises(Tampered, match="missing or changed"):
        store.fetch(output, tmp_path / "copy")


def test_a_missing_object_is_found_however_it_is_read(store: Store, tmp_path: Path) -> None:
    output = Output(sha256="0" * 64, size=3)
    assert not store.holds(output)
    assert not store.is_intact(output)
    with pytest.raises(Tampered):
        store.read(output)
    with pytest.raises(Tampered):
        store.fetch(output, tmp_path / "copy")


def test_keeping_the_same_bytes_again_mends_a_changed_object(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"good")
    output = store.keep(b"good")
    _damage(store, output, b"evil")
    assert store.keep(b"good") == output
    assert store.is_intact(output)
    _damage(store, output, b"evil")
    assert store.keep_file(file) == output
    assert store.is_intact(output)


def test_tables_lie_inside_the_store(store: Store) -> None:
    assert store.table_uri("trips") == f"{store.uri}/tables/trips"


def test_a_store_that_cannot_be_written_is_transient(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    (tmp_path / "store" / "calls").write_text("a file where a folder should be")
    with pytest.raises(Transient, match="retry when it is back"):
        store.put_if_absent("calls/one", b"{}")


@pytest.mark.s3
@pytest.mark.parametrize("key", ["perennial", "nobody"])
def test_refused_credentials_are_rejected_since_a_retry_would_not_help(s3_store: Store, key: str) -> None:
    stranger = Store(s3_store.uri, {"aws_access_key_id": key, "aws_secret_access_key": "x"})
    with pytest.raises(Rejected):
        stranger.put_if_absent("a", b"")
    with pytest.raises(Rejected):
        stranger.replace("a", b"")


@pytest.mark.s3
def test_a_bucket_that_is_not_there_is_rejected_by_name(s3_store: Store) -> None:
    with pytest.raises(Rejected, match="s3://no-such-bucket: no such bucket"):
        Store("s3://no-such-bucket", s3_store.options).keep(b"lost")


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERENNIAL_STORE", raising=False)
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    assert open_store().uri == f"{tmp_path}/store"
    monkeypatch.setenv("PERENNIAL_STORE", str(tmp_path / "elsewhere"))
    assert open_store().uri == str(tmp_path / "elsewhere")
