"""Extract: the partition's rows from their source into staging, as text, counted."""

from __future__ import annotations

from datetime import UTC, datetime

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.data.privacy.personal_data import (
    find_personal_data,
    is_looked_for,
    judge_personal_data,
)
from include.lifecycle.data.privacy.treatment import treatment_inputs, treatment_of
from include.lifecycle.data.sources import module_hash, open_source
from include.lifecycle.data.staging import stage
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.steps.code import code_hash
from include.lifecycle.steps.running import Work
from include.lifecycle.store.connections import Connections, environment_connection
from include.lifecycle.store.objects import Store, object_path
from include.lifecycle.store.receipts import Call


def plan(
    spec: DatasetSpec, partition: str, store: Store, connections: Connections = environment_connection
) -> Call:
    """The call that extracts one partition; it depends on what the source holds now. Where the source
    cannot tell, on the moment of planning: each run reads again.

    Raises Rejected when the partition has not begun or has not arrived.
    """
    span, now = calendar_of(spec).named(partition), datetime.now(UTC)
    if span.start > now:
        raise Rejected(
            f"{spec.name}: partition {partition} lies in the future, it begins at "
            f"{span.start:%Y-%m-%d %H:%M} UTC; name one that has begun"
        )
    source = open_source(spec, span, connections).fingerprint() or f"read at {now.isoformat()}"
    inputs = {"partition": partition, "source": source, **treatment_inputs(spec, connections, store)}
    if (module := module_hash(spec)) is not None:
        inputs["module"] = module
    return Call(
        step="extract",
        spec=spec.model_dump(mode="json"),
        inputs=inputs,
        as_of=span.start,
        code=code_hash("extract"),
    )


def run(work: Work) -> None:
    """Outputs `staged`; counts `rows_in`, and `suppressed` of them that were left out."""
    spec, inputs = DatasetSpec.model_validate(work.call.spec), work.call.inputs
    if inputs.get("module") != module_hash(spec):
        raise Rejected(
            f"{spec.name}: module {spec.source.type} is not the code of the call; deploy the same "
            "one everywhere"
        )
    _check_treated_alike(work, spec)
    source = open_source(spec, calendar_of(spec).named(inputs["partition"]), work.connections)
    file = work.folder / "staged.parquet"
    treat = treatment_of(spec, work.connections, work.store)
    staged = stage(spec, source.batches(), file, treat)
    if (found := source.fingerprint()) is not None and found != inputs["source"]:
        raise Transient(f"{spec.name}: the source of {inputs['partition']} changed while read")
    work.counts |= {"rows_in": staged.rows, "suppressed": staged.suppressed}
    if is_looked_for(spec):
        personal = find_personal_data(file, spec)
        judge_personal_data(spec, personal)
        work.results["personal_data"] = {name: item.model_dump() for name, item in personal.items()}
    _check_treated_alike(work, spec)
    work.keep("staged", file)
    # Whoever is erased from here on is searched in what was just kept.
    _check_treated_alike(work, spec)


def _check_treated_alike(work: Work, spec: DatasetSpec) -> None:
    treated = treatment_inputs(spec, work.connections, work.store)
    if treated != {name: work.call.inputs[name] for name in ("key", "erased") if name in work.call.inputs}:
        for output in work.outputs.values():
            work.store.remove(object_path(output.sha256))
        raise Transient(f"{spec.name}: the key changed, or somebody was erased, since this was planned")
