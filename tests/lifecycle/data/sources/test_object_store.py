import gzip
import os
from pathlib import Path

import pytest

from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.store.connections import Connection
from tests.lifecycle.data.sources.reading import dataset, opened, rows_of
from tests.servers import Bucket, only

TEXT = b"city,at,rain\nBER,now,1\n"


def objects(uri: str, **source: object) -> DatasetSpec:
    return dataset({"type": "object_store", "uri": uri, "connection": "landing", **source})


@pytest.fixture
def bucket() -> Bucket:
    if "AWS_ENDPOINT_URL" not in os.environ:
        pytest.skip("AWS_ENDPOINT_URL names no S3")
    return Bucket()


@pytest.mark.s3
def test_the_objects_of_a_partition_are_read_in_order(bucket: Bucket) -> None:
    bucket.put("2024-01-01/b.csv", TEXT.replace(b"BER", b"MUC"))
    bucket.put("2024-01-01/a.csv.gz", gzip.compress(TEXT))
    bucket.put("2024-01-01/deep/c.csv", TEXT)
    bucket.put("2024-01-02/a.csv", TEXT)
    spec = objects(f"{bucket.uri}/{{partition:%Y-%m-%d}}/*.csv*")
    assert [row["city"] for row in rows_of(spec, bucket.connection())] == ["BER", "MUC"]
    spec = objects(f"{bucket.uri}/{{partition:%Y-%m-%d}}/**/*.csv*")
    assert [row["city"] for row in rows_of(spec, bucket.connection())] == ["BER", "MUC", "BER"]


@pytest.mark.s3
def test_a_fingerprint_changes_with_an_objects_bytes(bucket: Bucket) -> None:
    spec = objects(f"{bucket.uri}/{{partition:%Y-%m-%d}}.csv")
    bucket.put("2024-01-01.csv", TEXT)
    source = opened(spec, only(bucket.connection()))
    before = source.fingerprint()
    assert source.fingerprint() == before
    bucket.put("2024-01-01.csv", TEXT.replace(b"1", b"2"))
    assert source.fingerprint() != before


@pytest.mark.s3
def test_without_a_connection_the_environments_credentials_are_used(bucket: Bucket) -> None:
    bucket.put("2024-01-01.csv", TEXT)
    spec = objects(f"{bucket.uri}/{{partition:%Y-%m-%d}}.csv", connection=None)
    assert rows_of(spec) == [{"city": "BER", "at": "now", "rain": "1"}]


@pytest.mark.s3
def test_a_partition_that_has_not_arrived_is_rejected(bucket: Bucket) -> None:
    spec = objects(f"{bucket.uri}/{{partition:%Y-%m-%d}}.csv")
    with pytest.raises(Rejected, match=r"no object s3://lake/.*2024-01-01.csv.*put the object there"):
        opened(spec, only(bucket.connection())).fingerprint()


@pytest.mark.s3
def test_a_damaged_object_is_named_by_its_uri(bucket: Bucket) -> None:
    bucket.put("2024-01-01.csv.gz", gzip.compress(TEXT)[:-6])
    spec = objects(f"{bucket.uri}/{{partition:%Y-%m-%d}}.csv.gz")
    with pytest.raises(Rejected, match=f"^{bucket.uri}/2024-01-01.csv.gz: cannot be read to its end"):
        rows_of(spec, bucket.connection())


@pytest.mark.s3
def test_an_object_that_is_too_large_is_not_fetched(bucket: Bucket) -> None:
    bucket.put("2024-01-01.csv", TEXT * 100)
    spec = objects(f"{bucket.uri}/{{partition:%Y-%m-%d}}.csv", max_size=1000)
    with pytest.raises(Rejected, match=r"larger than source\.max_size"):
        rows_of(spec, bucket.connection())


def test_credentials_in_the_uri_are_refused() -> None:
    spec = objects("s3://key:hidden@lake/{partition:%Y-%m-%d}.csv")
    with pytest.raises(Rejected, match="put them into a connection") as caught:
        opened(spec, only(Connection()))
    assert "hidden" not in str(caught.value)


def test_a_folder_does_as_a_bucket(tmp_path: Path) -> None:
    (tmp_path / "2024-01-01.csv").write_bytes(TEXT)
    spec = objects(f"file://{tmp_path}/{{partition:%Y-%m-%d}}.csv", connection=None)
    assert rows_of(spec) == [{"city": "BER", "at": "now", "rain": "1"}]


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("lake/", "must start with a bucket, such as s3://landing/"),
        ("/lake/", "must start with a bucket"),
        ("s3:/lake/", "must start with a bucket"),
        ("s4://lake/", "known: abfs, .*s3"),
        ("azurre://lake/", "did you mean 'azure'"),
        ("s3:///", "must start with a bucket"),
    ],
)
def test_a_place_that_is_no_bucket_is_refused_in_the_spec(start: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        objects(start + "{partition:%Y-%m-%d}.csv")


@pytest.mark.parametrize("start", ["s3://lake/", "gs://lake/", "az://lake/", "file:///lake/"])
def test_buckets_of_any_cloud_are_accepted(start: str) -> None:
    assert objects(start + "{partition:%Y-%m-%d}.csv").source.type == "object_store"
