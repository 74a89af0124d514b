"""Which partitions go back through validation after a rule was mended, and how each does.

All rows of a partition are validated again, from what its extraction staged, by the rules as they are
now, and published in its place: so no row is lost, and none appears twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.data.publishing import policy_hash, published_table, quarantine_table
from include.lifecycle.data.types import faults
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.nearest import nearest
from include.lifecycle.spec.value import Value
from include.lifecycle.steps import validate
from include.lifecycle.store.lake import PARTITION
from include.lifecycle.store.objects import Output, Store
from include.lifecycle.store.receipts import Call, read_call
from include.lifecycle.store.scan import connect


class Quarantined(Value):
    """A partition with rows in quarantine."""

    partition: str
    validated: str
    """Run key of the audit that put them there."""
    over: str | None
    """The partition's newest publication when it was looked up (see `Table.publication`)."""


def quarantined_partitions(
    spec: DatasetSpec, store: Store, partition: str | None = None, rule: str | None = None
) -> list[Quarantined]:
    """The partitions with rows in quarantine, in order; of one name, or for one rule, when asked.

    A rule is named as the quarantine table does, or by the expectation alone. Raises Rejected for a
    name that is no partition's, and for one that neither the YAML nor quarantine has.
    """
    if partition is not None:
        calendar_of(spec).named(partition)
    rows = quarantine_table(spec.name, store).dataset()
    if rows is None:
        _require_rule(spec, rule, ())
        return []
    published = published_table(spec.name, store)
    with connect() as db:
        db.register("quarantined", rows)
        broken = db.execute("SELECT DISTINCT rule FROM quarantined").fetchall()
        _require_rule(spec, rule, (name for (name,) in broken))
        found = db.execute(
            f"SELECT {PARTITION}, max(run_key) FROM quarantined "
            f"WHERE ($1 IS NULL OR {PARTITION} = $1) "
            "AND ($2 IS NULL OR rule = $2 OR starts_with(rule, $2 || ':')) "
            f"GROUP BY {PARTITION} ORDER BY {PARTITION}",
            [partition, rule],
        ).fetchall()
    return [
        Quarantined(partition=name, validated=run_key, over=published.publication(name))
        for name, run_key in found
    ]


def plan_revalidation(spec: DatasetSpec, found: Quarantined, store: Store) -> Call:
    """The call that validates a partition again by today's rules.

    Raises Rejected when what was staged is gone, or was staged for other columns or under another policy.
    """
    before = read_call(found.validated, store)
    again = f"ingest the partition again: {spec.name}.ingest, with {found.partition} in its form"
    if before.inputs.get("staged") is None:
        raise Rejected(f"{spec.name} {found.partition} was validated by an older version; {again}")
    staged = Output.model_validate(before.inputs["staged"])
    if not store.holds(staged):
        raise Rejected(f"{spec.name} {found.partition}: what was staged is gone from the store; {again}")
    if _staged_for(DatasetSpec.model_validate(before.spec)) != _staged_for(spec):
        raise Rejected(
            f"{spec.name} {found.partition} was staged for other columns or another privacy policy "
            f"than {spec.name}.yaml names now; {again}"
        )
    return validate.plan(spec, found.partition, staged, before.inputs["suppressed"], store)


def _require_rule(spec: DatasetSpec, rule: str | None, broken: Iterable[str]) -> None:
    """Raise Rejected for a rule that is neither broken by a row in quarantine nor the YAML's."""
    known = _with_stems(broken)
    if rule is None or rule in known:
        return
    # Great Expectations takes seconds to import, and is needed only now.
    from include.lifecycle.data.validation.suite import build_rules

    kinds = {name: column.type for name, column in spec.published.items()}
    references = (item.rule for item in spec.references)
    known |= _with_stems([*(item.name for item in build_rules(spec)), *faults(spec, kinds), *references])
    if rule not in known:
        raise Rejected(
            f"rule {rule!r} is neither in {spec.name}.yaml nor in its quarantine{nearest(rule, known)}"
        )


def _with_stems(rules: Iterable[str]) -> set[str]:
    """Rules as the quarantine table names them, and by what stands before their columns."""
    names = set(rules)
    return names | {name.split(":")[0] for name in names}


def _staged_for(spec: DatasetSpec) -> tuple[list[str], str | None]:
    """What a staged file depends on: its columns, and the policy that it was checked under."""
    return sorted(spec.columns), policy_hash(spec)
