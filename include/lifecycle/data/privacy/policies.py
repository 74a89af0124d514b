"""Says whether what is published may be trained on: one policy, and pseudonyms of one key."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

from include.lifecycle.data.publishing import policy_hash, published_policies, published_table
from include.lifecycle.errors import Rejected
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.privacy import Pseudonym
from include.lifecycle.store.lake import PARTITION
from include.lifecycle.store.objects import Store
from include.lifecycle.store.scan import connect

_NAMED = 5


def require_policy(spec: DatasetSpec, version: int, store: Store) -> None:
    """Raise Rejected when a partition in a version was published under another policy than today's."""
    wanted = policy_hash(spec)
    policies = published_policies(spec.name, store, version)
    if old := sorted(name for name, policy in policies.items() if policy != wanted):
        raise Rejected(
            f"{spec.name}: the partitions {_named(old)} were published under another "
            f"privacy policy than {spec.name}.yaml has now; ingest them again (run {spec.name}.ingest for "
            "them, or a backfill that runs existing partitions again), then train"
        )


def require_one_key(datasets: Mapping[str, DatasetSpec], versions: Mapping[str, int], store: Store) -> None:
    """Raise Rejected when pseudonyms were made with several keys of one connection.

    After a rotation a person has one pseudonym until then and another one since: nothing joins. What the
    newest partitions were made with is taken for the current key.
    """
    found = [
        (partition, name, spec.privacy and spec.privacy.key, key)
        for name, spec in datasets.items()
        for partition, key in _keys_of_partitions(spec, versions[name], store)
    ]
    current = {connection: key for _, _, connection, key in sorted(found, key=itemgetter(0))}
    old = sorted(
        (name, partition) for partition, name, connection, key in found if key != current[connection]
    )
    if old:
        name = old[0][0]
        partitions = _named([partition for its, partition in old if its == name])
        raise Rejected(
            f"{name}: the pseudonyms of the partitions {partitions} were made with another key than the "
            "newest ones; ingest them again "
            f"(run {name}.ingest for them, or a backfill that runs existing partitions again), then train"
        )


def _keys_of_partitions(spec: DatasetSpec, version: int, store: Store) -> list[tuple[str, str]]:
    """Pairs of a partition and the name of a key that a pseudonym in it begins with."""
    pseudonyms = [name for name, column in spec.columns.items() if isinstance(column.privacy, Pseudonym)]
    if not pseudonyms:
        return []
    names = " UNION ".join(
        f"SELECT DISTINCT {PARTITION}, split_part(\"{name}\", '_', 1) FROM published WHERE \"{name}\" <> ''"
        for name in pseudonyms
    )
    with connect() as db:
        db.register("published", published_table(spec.name, store).dataset(version))
        return db.execute(names).fetchall()


def _named(partitions: list[str]) -> str:
    more = f" and {len(partitions) - _NAMED} more" if len(partitions) > _NAMED else ""
    return f"{', '.join(partitions[:_NAMED])}{more}"
