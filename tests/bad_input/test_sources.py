"""Databases, APIs and buckets that misbehave: nothing is taken from them, and people learn what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import from_url

from include.lifecycle.data.sources import asking
from include.lifecycle.errors import LifecycleError, Rejected, Transient
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps import extract
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.connections import Connection
from include.lifecycle.store.objects import Store
from tests.lifecycle.data.sources.reading import dataset, opened
from tests.servers import PASSWORD, Answer, Api, Asked, Bucket, Database, only

PARTITION = "2024-01-01"
ROW = {"city": "BER", "at": "2024-01-01T00:00:00Z", "rain": 1}
HTML = Answer("<!doctype html><title>Log in</title>", headers={"Content-Type": "text/html; charset=utf-8"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def refused(
    kind: type[LifecycleError], words: str, spec: DatasetSpec, connection: Connection, store: Store
) -> None:
    """Expect that the extraction fails with that error, and leaves no receipt and no rows."""
    with pytest.raises(kind, match=words) as caught:
        run_step(extract.plan(spec, PARTITION, store, only(connection)), store, only(connection))
    assert type(caught.value) is kind
    assert not connection.password or connection.password not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.list("receipts/") == store.list("objects/") == []


def http(**more: Any) -> DatasetSpec:
    said = {"type": "http", "connection": "api", "path": "sky", "parameters": {"day": "{start:%Y-%m-%d}"}}
    return dataset(said | more)


def test_an_api_that_answers_html_is_refused(store: Store) -> None:
    with Api(lambda asked: HTML) as api:
        words = r"connection 'api': /sky: answers text/html, not JSON, nothing was taken.*a login or an error"
        refused(Rejected, words, http(), api.connection(), store)
    assert len(api.asked) == 1


def test_an_api_whose_second_page_is_html_is_refused(store: Store) -> None:
    def answer(asked: Asked) -> Answer:
        return HTML if "offset" in asked.query else Answer(json.dumps([ROW]))

    with Api(answer) as api:
        refused(
            Rejected, "not JSON, nothing was taken", http(pages={"by": "offset"}), api.connection(), store
        )


@pytest.mark.parametrize(
    ("pages", "headers"),
    [
        ({"by": "offset"}, {}),
        ({"by": "cursor", "path": "next", "parameter": "after"}, {}),
        ({"by": "link"}, {"Link": '</sky>; rel="next"'}),
    ],
)
def test_an_api_that_gives_the_same_page_for_ever_is_refused(
    store: Store, pages: dict[str, str], headers: dict[str, str]
) -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(json.dumps({"rows": [ROW], "next": "x", "served": len(api.asked)}), headers=headers)

    with Api(answer) as api:
        words = "the same page again and again, nothing was taken from it; mend source.pages"
        refused(Rejected, words, http(rows="rows", pages=pages), api.connection(), store)
    assert len(api.asked) == 2


def test_an_api_that_never_ends_is_refused(store: Store) -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(json.dumps([{**ROW, "rain": len(api.asked)}]))

    with Api(answer) as api:
        words = r"more than source.max_pages \(7\) pages, nothing was taken.*raise max_pages if it is right"
        refused(Rejected, words, http(pages={"by": "offset"}, max_pages=7), api.connection(), store)
    assert len(api.asked) == 7


def test_an_api_that_goes_down_between_two_pages_gives_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ATTEMPTS", 2)

    def answer(asked: Asked) -> Answer:
        return Answer("down", 502) if "offset" in asked.query else Answer(json.dumps([ROW]))

    with Api(answer) as api:
        refused(Transient, "502.*nothing|nothing.*502", http(pages={"by": "offset"}), api.connection(), store)


def test_an_api_without_rows_is_refused(store: Store) -> None:
    with Api(lambda asked: Answer("[]")) as api:
        refused(Rejected, "/sky: no rows; if there may be none", http(), api.connection(), store)


def test_an_api_whose_rows_lack_a_column_is_refused(store: Store) -> None:
    with Api(lambda asked: Answer(json.dumps([{"city": "BER", "at": "x", "rian": 1}]))) as api:
        words = r"/sky: the answer lacks \['rain'\]; did you mean 'rian'\?"
        refused(Rejected, words, http(), api.connection(), store)


@pytest.fixture
def database() -> Iterator[Database]:
    """A PostgreSQL that the test may kill."""
    with Database() as database:
        database.do(
            "CREATE TABLE sky AS SELECT 'c' || i AS city, '2024-01-01'::timestamptz AS at, i AS rain, "
            "repeat('x', 500) AS filling FROM generate_series(1, 100000) AS i"
        )
        yield database


SQL = dataset(
    {
        "type": "sql",
        "connection": "shop",
        "query": "SELECT * FROM sky WHERE at >= %(start)s AND at < %(end)s",
    }
)


def test_a_database_that_goes_away_in_the_middle_of_the_cursor_is_asked_again(database: Database) -> None:
    batches = opened(SQL, only(database.connection())).batches()
    taken = [next(batches).num_rows for _ in range(3)]
    assert taken == [0, 5_000, 5_000]
    database.die()
    with pytest.raises(
        Transient, match=r"the database went away, nothing was taken.*retry when it is back"
    ) as caught:
        list(batches)
    assert PASSWORD not in str(caught.value)


def test_a_session_that_is_ended_in_the_middle_of_the_cursor_is_asked_again(
    database: Database, store: Store
) -> None:
    batches = opened(SQL, only(database.connection())).batches()
    next(batches), next(batches)
    database.do(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with pytest.raises(Transient, match="connection 'shop': the database went away"):
        list(batches)
    receipt, _ = run_step(
        extract.plan(SQL, PARTITION, store, only(database.connection())), store, only(database.connection())
    )
    assert receipt.counts["rows_in"] == 100_000


def s3(uri: str) -> DatasetSpec:
    return dataset({"type": "object_store", "uri": uri, "connection": "landing"})


@pytest.fixture
def bucket() -> Bucket:
    if "AWS_ENDPOINT_URL" not in os.environ:
        pytest.skip("AWS_ENDPOINT_URL names no S3")
    return Bucket()


@pytest.mark.s3
def test_a_bucket_without_rights_is_refused(bucket: Bucket, store: Store) -> None:
    bucket.put(f"{PARTITION}.csv", b"city,at,rain\nBER,now,1\n")
    spec = s3(f"{bucket.uri}/{{partition:%Y-%m-%d}}.csv")
    words = "bucket s3://lake: no right to list .*; mend connection 'landing' or the bucket's policy"
    refused(Rejected, words, spec, bucket.connection("wrong-secret"), store)


@pytest.mark.s3
def test_a_bucket_that_is_not_there_is_refused(bucket: Bucket, store: Store) -> None:
    spec = s3("s3://no-such-bucket/{partition:%Y-%m-%d}.csv")
    refused(
        Rejected, "bucket s3://no-such-bucket: not there .*mend source.uri", spec, bucket.connection(), store
    )


@pytest.mark.s3
def test_an_object_that_unpacks_to_more_than_the_limit_is_refused(bucket: Bucket, store: Store) -> None:
    import gzip

    bomb = gzip.compress(b"city,at,rain\n" + b"BER,now,1\n" * 1_000_000)
    assert len(bomb) < 100_000
    obstore.put(from_url(bucket.uri), f"{PARTITION}.csv.gz", bomb)
    said = {"type": "object_store", "uri": f"{bucket.uri}/{{partition:%Y-%m-%d}}.csv.gz", "max_size": "1MB"}
    refused(Rejected, "larger than source.max_size", dataset(said), bucket.connection(), store)


def test_a_partition_in_the_future_is_refused_by_name(store: Store) -> None:
    later = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%d}"
    with pytest.raises(
        Rejected, match=f"partition {later} lies in the future, it begins at {later} 00:00 UTC"
    ):
        extract.plan(SQL, later, store, only(Connection()))
