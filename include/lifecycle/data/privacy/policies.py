"""Compares what is published with the privacy policy that the YAML has now."""

from __future__ import annotations

from include.lifecycle.data.publishing import policy_hash, published_policies
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.store.objects import Store

_NAMED = 5


def require_policy(spec: DatasetSpec, version: int, store: Store) -> None:
    """Raise Rejected when a partition in a version was published under another policy than today's."""
    wanted = policy_hash(spec)
    policies = published_policies(spec.name, store, version)
    if old := sorted(name for name, policy in policies.items() if policy != wanted):
        more = f" and {len(old) - _NAMED} more" if len(old) > _NAMED else ""
        raise Rejected(
            f"{spec.name}: the partitions {', '.join(old[:_NAMED])}{more} were published under another "
            f"privacy policy than {spec.name}.yaml has now; ingest them again (run {spec.name}.ingest for "
            "them, or a backfill that runs existing partitions again), then train"
        )
