import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps import extract
from include.lifecycle.steps.running import Work, run_step
from include.lifecycle.store.objects import Store
from tests.lifecycle import tiny
from tests.lifecycle.data.sources.reading import dataset
from tests.lifecycle.tiny import Project
from tests.servers import PASSWORD, Database, only


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with Database() as database:
        database.do(
            "CREATE TABLE sky AS SELECT 'BER' AS city, '2024-01-01T00:00:00Z'::timestamptz AS at, 1.5 AS rain"
        )
        yield database


SQL = {
    "type": "sql",
    "connection": "shop",
    "query": "SELECT * FROM sky WHERE at >= %(start)s AND at < %(end)s",
}


def test_the_rows_of_a_partition_are_staged_and_counted(project: Project, tmp_path: Path) -> None:
    tiny.deliver(project, tiny.trips(1), "trips", "2024-01-01")
    call = extract.plan(project.catalog.dataset("trips"), "2024-01-01", project.store)
    receipt, _ = run_step(call, project.store)
    file = project.store.fetch(receipt.outputs["staged"], tmp_path / "staged")
    assert receipt.counts == {"rows_in": 60, "suppressed": 0}
    assert pq.read_table(file).column("trip_id").to_pylist() == tiny.trips(1)["trip_id"].tolist()


def test_the_same_files_are_extracted_once(project: Project) -> None:
    tiny.deliver(project, tiny.trips(1), "trips", "2024-01-01")
    spec = project.catalog.dataset("trips")
    assert extract.plan(spec, "2024-01-01", project.store) == extract.plan(spec, "2024-01-01", project.store)


def test_a_source_that_cannot_tell_what_it_holds_is_read_again_each_time(
    database: Database, store: Store
) -> None:
    connections = only(database.connection())
    calls = [extract.plan(dataset(SQL), "2024-01-01", store, connections) for _ in range(2)]
    assert calls[0].run_key != calls[1].run_key
    receipts = [run_step(call, store, connections)[0] for call in calls]
    assert receipts[0].outputs == receipts[1].outputs


def test_a_partition_that_has_begun_may_be_read(project: Project) -> None:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    tiny.deliver(project, tiny.trips(1), "trips", today)
    assert extract.plan(project.catalog.dataset("trips"), today, project.store).inputs["partition"] == today


def test_a_partition_in_the_future_is_rejected_by_name(project: Project) -> None:
    later = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"
    tiny.deliver(project, tiny.trips(1), "trips", later)
    with pytest.raises(Rejected, match=f"partition {later} lies in the future"):
        extract.plan(project.catalog.dataset("trips"), later, project.store)


def test_files_that_change_while_they_are_read_are_read_again(project: Project, tmp_path: Path) -> None:
    file = tiny.deliver(project, tiny.trips(1), "trips", "2024-01-01")
    call = extract.plan(project.catalog.dataset("trips"), "2024-01-01", project.store)
    file.write_text(file.read_text().replace("BER", "OSL"))
    with pytest.raises(Transient, match="trips: the source of 2024-01-01 changed while read"):
        extract.run(Work(call, project.store, tmp_path))


def test_the_password_is_in_no_call_receipt_log_or_error(
    database: Database, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    connections = only(database.connection())
    call = extract.plan(dataset(SQL), "2024-01-01", store, connections)
    work = Work(call, store, tmp_path, connections)
    run_step(call, store, connections)

    def refused(spec: DatasetSpec, login: str = "postgres") -> str:
        bad = only(database.connection(login))
        with pytest.raises(Rejected) as caught:
            run_step(extract.plan(spec, "2024-01-01", store, bad), store, bad)
        return str(caught.value)

    errors = [
        refused(dataset(SQL), "ghost"),
        refused(dataset({**SQL, "query": f"{SQL['query']} AND nonsense"})),
    ]
    written = [path.read_bytes() for path in Path(store.uri).rglob("*") if path.is_file()]
    assert len(written) >= 3
    assert not any(PASSWORD.encode() in content for content in written)
    for text in (*errors, caplog.text, repr(work), repr(call), str(connections("shop"))):
        assert PASSWORD not in text
