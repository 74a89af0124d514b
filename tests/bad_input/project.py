"""A project in a folder: specs, landing, store, champion; and the MLflow server of all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.lifecycle.data.publishing import published_table, quarantine_table
from include.lifecycle.errors import LifecycleError, Transient
from include.lifecycle.release.costs import USED
from include.lifecycle.release.decisions import Actor, end_training, record
from include.lifecycle.release.fold import fold
from include.lifecycle.release.moves import newest_proposal
from include.lifecycle.release.state import ModelState
from include.lifecycle.steps.provenance import RECORDS
from include.lifecycle.store.ledger import Entry, Ledger
from include.lifecycle.store.objects import Output, Store
from include.lifecycle.store.receipts import read_receipt
from tests.bad_input import source, tasks
from tests.lifecycle import tiny
from tests.serving.running import RunningServer, answers, free_port, wait_until


class MlflowServer:
    """`mlflow server` on a port of its own, which is dead while the server is down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: answers(f"http://127.0.0.1:{self.port}/health"), "MLflow answers", self.process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and its workers; its database stays."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, 15)
            self.process.wait(30)


@contextmanager
def refused(kind: type[LifecycleError], *words: str) -> Iterator[None]:
    """Expect that a task fails with that error of the lifecycle, whose message says all the words.

    Airflow gets it as an error that it retries only if that helps, and no library's traceback.
    """
    with pytest.raises(AirflowException) as caught:
        yield
    error = caught.value
    assert type(error) is (AirflowException if issubclass(kind, Transient) else AirflowFailException)
    assert type(error.__context__) is kind
    assert error.__suppress_context__
    assert str(error) == str(error.__context__)
    for word in words:
        assert word in str(error)


class Project:
    """One home with everything in it."""

    def __init__(self, home: Path, mlflow: MlflowServer) -> None:
        self.home = home
        self.landing, self.specs = home / "landing", home / "specs"
        self.store = Store(str(home / "store"))
        self.mlflow = mlflow
        self.server: RunningServer

    def environment(self) -> dict[str, str]:
        """What leads every process to this project."""
        connection = {"conn_type": "http", "schema": "http", "host": "127.0.0.1"}
        return {
            "PERENNIAL_HOME": str(self.home),
            "PERENNIAL_LANDING": str(self.landing),
            "PERENNIAL_SPECS": str(self.specs),
            "PERENNIAL_STORE": self.store.uri,
            "AIRFLOW_CONN_PERENNIAL_STORE": json.dumps({"conn_type": "generic"}),
            "AIRFLOW_CONN_PERENNIAL_MLFLOW": json.dumps({**connection, "port": self.mlflow.port}),
        }

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Work in this project from now on."""
        for name, value in self.environment().items():
            patch.setenv(name, value)

    def found(self) -> None:
        """Ingest the first days, train, register, promote: version 1 becomes champion."""
        source.write_specs(self.specs)
        for number in range(source.DAYS):
            self.deliver(source.day(number))
            tasks.ingest(source.day(number))
        trained = tasks.train("founding")
        tasks.register("founding", tasks.gate("founding", trained))
        proposal = newest_proposal(self.state())
        assert proposal is not None
        tiny.promote(self.ledger, proposal.version, "founding", Actor("ada", "founding"))
        assert tasks.reconcile()["champion"] == "1"

    @property
    def ledger(self) -> Ledger:
        """The ledger of the model."""
        return Ledger(self.store, "late")

    def entries(self) -> list[Entry]:
        """Its entries."""
        return self.ledger.entries()

    def state(self) -> ModelState:
        """What it says now."""
        return fold(self.entries())

    def ingest_as(self, control: Project, partition: str) -> None:
        """Ingest a partition that failed before, and get what a project without the fault gets."""
        tasks.ingest(partition)
        with control.at_work():
            source.write_specs(control.specs)
            control.deliver(partition)
            tasks.ingest(partition)
        assert self.partitions()[partition] == control.partitions()[partition]

    def train_as(self, control: Project, run_id: str, seed: int) -> None:
        """Train, and get what a project without the fault gets; the lease is given back."""
        self.specify(seed=seed)
        found = self._trained(run_id)
        with control.at_work():
            control.specify(seed=seed)
            assert found == control._trained(run_id)

    def _trained(self, run_id: str) -> dict[str, Output]:
        receipt = read_receipt(tasks.train(run_id)["run_key"], self.store)
        give_back = end_training(receipt.run_key, receipt.call.as_of, "rejected", "only a test")
        record(self.ledger, give_back, Actor("ada", run_id))
        return {name: output for name, output in receipt.outputs.items() if name not in RECORDS}

    def specify(self, old: str = "", new: str = "", *, seed: int = 1) -> None:
        """Write good specs, but for one text of the model's YAML; a new seed makes a new training."""
        source.write_specs(self.specs)
        assert old in source.MODEL
        text = source.MODEL.replace(old, new) if old else source.MODEL
        (self.specs / "models/late.yaml").write_text(text.replace("seed: 1", f"seed: {seed}"))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Work in this project for a while."""
        with pytest.MonkeyPatch.context() as patch:
            self.use(patch)
            yield

    def deliver(self, partition: str, text: bytes | None = None) -> Path:
        """Put the file of a day into the landing folder."""
        return source.deliver(self.landing, partition, text)

    def partitions(self, dataset: str = "trips") -> dict[str, str]:
        """Content hash of each published partition."""
        return published_table(dataset, self.store).partitions()

    def rows(self, dataset: str = "trips") -> pd.DataFrame:
        """All published rows."""
        return _sorted(published_table(dataset, self.store).dataset())

    def quarantined(self, partition: str, dataset: str = "trips") -> pd.DataFrame:
        """The rows of a partition that are in quarantine."""
        found = _sorted(quarantine_table(dataset, self.store).dataset())
        return found[found["_partition"] == partition].reset_index(drop=True)

    def answering_version(self) -> str | None:
        """The version that the server answers a real request with."""
        reply = httpx.post(f"{self.server.url}/invocations", json={"instances": [source.REQUEST]})
        return reply.headers["X-Model-Version"] if reply.is_success else None

    @contextmanager
    def unharmed(self, *, failed: int = 0) -> Iterator[None]:
        """Around a fault: what was published, the ledger and the landing folder stay as they are, and
        the champion answers. `failed` trainings, no other decisions, may be added to the ledger."""
        before = self.partitions(), self.rows(), self.entries(), self._landed()
        yield
        partitions, rows, entries, landed = before
        assert self.partitions() == partitions
        pd.testing.assert_frame_equal(self.rows(), rows)
        assert self._landed() == landed
        added = [entry.event for entry in self.entries()[len(entries) :] if entry.event != USED]
        assert self.entries()[: len(entries)] == entries
        assert added == ["training", "failed"] * failed
        assert self.answering_version() == "1"

    def _landed(self) -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in self.landing.rglob("*") if file.is_file()}


def _sorted(dataset: Any) -> pd.DataFrame:
    rows: pd.DataFrame = dataset.to_table().to_pandas()
    return rows.sort_values(list(rows.columns)[:2]).reset_index(drop=True)
