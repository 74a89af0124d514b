"""A source that the project does not ship: one file and one spec class, outside the package."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from include.lifecycle.data.sources import module_hash
from include.lifecycle.errors import Rejected
from include.lifecycle.steps import extract
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.connections import Connection
from tests.lifecycle.tiny import Project
from tests.servers import only

COUNTER = '''
"""Rows of a counter: as many as the YAML says."""

from include.lifecycle.data.sources.batches import text_batch, text_schema
from include.lifecycle.spec.source import SourceSpec


class Spec(SourceSpec):
    """What the YAML may say."""

    count: int


class Source:
    """Gives the rows of one partition."""

    def __init__(self, spec, partition, connections):
        self.count = spec.source.count
        self.partition = partition
        self.connections = connections

    def fingerprint(self):
        return None

    def batches(self):
        login = self.connections("counter").login
        schema = text_schema(["city", "at", "rain"], "the counter", "page")
        at = f"{self.partition.start:%Y-%m-%dT%H:%M:%SZ}"
        yield text_batch(schema, [[login] * self.count, [at] * self.count, list(map(str, range(self.count)))])
'''
SKY = """
description: Rain of a counter
partition: day
schedule: {start: 2024-01-01}
source: {type: company.counter, count: 3}
columns: {city: string, at: timestamp, rain: number}
key: [city, rain]
event_time: at
"""


@pytest.fixture
def module(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of a company on the path, and a dataset that names it."""
    package = tmp_path / "code" / "company"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "counter.py").write_text(COUNTER)
    (project.specs / "datasets/sky.yaml").write_text(SKY)
    monkeypatch.syspath_prepend(str(package.parent))
    yield package / "counter.py"
    forget()


def forget() -> None:
    """As a process that starts anew does."""
    for name in [name for name in sys.modules if name.split(".")[0] == "company"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_a_module_of_ones_own_is_a_source(project: Project, module: Path, tmp_path: Path) -> None:
    connections = only(Connection(login="BER"))
    call = extract.plan(project.catalog.dataset("sky"), "2024-01-01", project.store, connections)
    receipt, _ = run_step(call, project.store, connections)
    file = project.store.fetch(receipt.outputs["staged"], tmp_path / "staged")
    assert receipt.counts["rows_in"] == 3
    assert pq.read_table(file).to_pylist() == [
        {"city": "BER", "at": "2024-01-01T00:00:00Z", "rain": str(number)} for number in range(3)
    ]


def test_the_modules_code_is_part_of_the_call(project: Project, module: Path) -> None:
    spec = project.catalog.dataset("sky")
    call = extract.plan(spec, "2024-01-01", project.store)
    assert call.inputs["module"] == module_hash(spec)
    module.write_text(COUNTER + "# changed\n")
    forget()
    assert extract.plan(spec, "2024-01-01", project.store).inputs["module"] != call.inputs["module"]
    with pytest.raises(Rejected, match=r"company\.counter is not the code of the call"):
        run_step(call, project.store)


def test_a_module_without_a_source_says_what_is_missing(project: Project, module: Path) -> None:
    bare = module.with_name("bare.py")
    bare.write_text(COUNTER.replace("class Source:", "class Other:"))
    project.edit("datasets/sky.yaml", "company.counter", "company.bare")
    with pytest.raises(Rejected, match=r"sky.yaml: source.type: module 'company.bare' lacks a class Source"):
        extract.plan(project.catalog.dataset("sky"), "2024-01-01", project.store)


def test_perennials_own_sources_are_in_the_code_hash(project: Project) -> None:
    assert module_hash(project.catalog.dataset("trips")) is None
