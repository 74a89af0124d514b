"""Deploy: the model server in the cluster becomes what the profile says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.spec.profile import open_profile
from mlops.business_time import Context
from mlops.operators.step import LifecycleOperator
from mlops.release_map import ReleaseMap

if TYPE_CHECKING:
    from mlops.hooks.cluster import ClusterHook, Object


class DeployOperator(LifecycleOperator):
    """Applies the server's objects, each with what changes in it told first; a second run changes nothing.

    With `dry_run` the cluster is only asked what would change.
    """

    ui_color = "#d7ecd9"

    def perform(self, context: Context) -> dict[str, Any]:
        """Return how many lines differ by object, or skip where the profile has no server."""
        from mlops.hooks.cluster import ClusterHook
        from mlops.server_spec import server_objects

        cluster = open_profile().kubernetes
        if cluster is None or cluster.server is None:
            raise AirflowSkipException("the profile has no kubernetes.server: nothing is deployed")
        hook, dry_run = ClusterHook(cluster.connection), bool(context["params"].get("dry_run"))
        if not dry_run:  # before the pods that would ask for them
            self._write_documents(ReleaseMap(hook, cluster))
        objects = server_objects(cluster, cluster.server)
        changed = {_name(item): self._told(item, hook) for item in objects}
        if not dry_run:
            for item in objects:
                hook.apply(item)
        return {"dry_run": dry_run, "changed": {name: lines for name, lines in changed.items() if lines}}

    def _write_documents(self, releases: ReleaseMap) -> None:
        from include.lifecycle.release.document import newest_paths, read_release

        store = self.store
        for model in newest_paths(store):
            if (document := read_release(model, store)) is not None:
                releases.put(document)

    def _told(self, item: Object, hook: ClusterHook) -> int:
        """How many lines differ, which the log has."""
        from mlops.object_diff import difference

        found, wanted = hook.read(item), hook.apply(item, dry_run=True)
        lines = difference(found, wanted if found else item)
        self.log.info("%s: %s", _name(item), "as it should be" if not lines else "changes")
        for line in lines:
            self.log.info("%s", line)
        return len(lines)


def _name(item: Object) -> str:
    return f"{item['kind']} {item['metadata']['name']}"
