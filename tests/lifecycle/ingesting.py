"""Ingests a partition by its steps, one after the other, as the tasks of its DAG do."""

from __future__ import annotations

from collections.abc import Callable

from include.lifecycle.data.publishing import published_table
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps import extract, publish, validate
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Receipt

FATES = ("published", "quarantined", "repeated", "suppressed")


def ingest(
    spec: DatasetSpec, partition: str, store: Store, enter: Callable[[str], None] = lambda step: None
) -> Receipt:
    """Extract, validate and publish a partition; returns the publication's receipt.

    `enter` is told which step begins.
    """
    enter("extract")
    over = published_table(spec.name, store).publication(partition)
    extracted, _ = run_step(extract.plan(spec, partition, store), store)
    enter("validate")
    staged, suppressed = extracted.outputs["staged"], extracted.counts["suppressed"]
    validated, _ = run_step(validate.plan(spec, partition, staged, suppressed, store), store)
    enter("publish")
    return run_step(publish.plan(validated, over, store), store)[0]


def fates(receipt: Receipt) -> int:
    """How many rows went to one of the places that a row may go to; the rows in, if all is well."""
    return sum(receipt.counts.get(fate, 0) for fate in FATES)
