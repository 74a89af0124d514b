"""Brings release documents to the servers in a cluster: the ConfigMap that they watch."""

from __future__ import annotations

from logging import getLogger
from typing import TYPE_CHECKING, Any

from include.lifecycle.errors import Conflict
from include.lifecycle.spec.profile import Kubernetes, open_profile
from mlops.server_spec import RELEASES

if TYPE_CHECKING:
    from include.lifecycle.release.document import ReleaseDocument
    from include.lifecycle.release.reconcile import Announce
    from mlops.hooks.cluster import ClusterHook

log = getLogger(__name__)
_TRIES = 20
"""Each time, somebody else has written meanwhile."""


def announcer() -> Announce | None:
    """What tells the servers in the cluster; None where the profile has none there."""
    cluster = open_profile().kubernetes
    if cluster is None or cluster.server is None:
        return None
    from mlops.hooks.cluster import ClusterHook

    return ReleaseMap(ClusterHook(cluster.connection), cluster).put


class ReleaseMap:
    """The ConfigMap with the release document of each model; written from any number of places at once."""

    def __init__(self, hook: ClusterHook, cluster: Kubernetes) -> None:
        self._hook = hook
        self._metadata = {"name": RELEASES, "namespace": cluster.namespace}
        self._empty = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._metadata}

    def put(self, document: ReleaseDocument) -> bool:
        """Put a document in the place of its model's, unless a newer one is there; whether it was written.

        Nothing is written over what somebody else wrote since it was read: it is read again.
        """
        from include.lifecycle.release.release_map import with_document

        for _ in range(_TRIES):
            found = self._found()
            change = with_document(found.get("data") or {}, document)
            log.info("%s: %s", document.model, change.why)
            if change.documents is None:
                return False
            metadata = {**self._metadata, "resourceVersion": found["metadata"]["resourceVersion"]}
            try:
                self._hook.apply({**self._empty, "metadata": metadata, "data": dict(change.documents)})
            except Conflict:
                continue
            return True
        raise Conflict(f"ConfigMap {RELEASES}: others write to it all the time; try again")

    def _found(self) -> dict[str, Any]:
        """The ConfigMap; made empty where it is missing, so that of two who make it none is overwritten."""
        return self._hook.read(self._empty) or self._hook.create(self._empty)
