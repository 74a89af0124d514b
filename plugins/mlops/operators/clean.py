"""Clean: what killed processes, lost pods and given up tasks left behind goes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from include.lifecycle.spec.profile import Kubernetes, open_profile
from mlops.business_time import Context
from mlops.operators.step import LifecycleOperator

if TYPE_CHECKING:
    from include.lifecycle.store.objects import Store
    from mlops.waiting_task import WaitingTask


class CleanStoreOperator(LifecycleOperator):
    """Removes outputs that no receipt names, stale checkpoints, and scratch folders of dead processes."""

    ui_color = "#d7ecd9"

    def perform(self, context: Context) -> dict[str, Any]:
        """Return how much was removed, and which records of the store are damaged."""
        from include.lifecycle.steps.leftovers import clean_store
        from include.lifecycle.store.scratch import remove_abandoned_folders

        folders = remove_abandoned_folders()
        for name in folders:
            self.log.info("removed scratch folder %s: its process is gone", name)
        cleaned = clean_store(self.store, datetime.now(UTC), open_profile().grace)
        for item in cleaned.removed:
            self.log.info("removed %s: %s", item.path, item.why)
        for path in cleaned.damaged:
            self.log.warning(
                "%s is damaged: restore it, or remove it, and clear the task that wrote it; no output is "
                "removed until then",
                path,
            )
        return {"folders": len(folders), "objects": len(cleaned.removed), "damaged": list(cleaned.damaged)}


class CleanClusterOperator(LifecycleOperator):
    """Deletes pods, Jobs and Services of steps that no task waits for."""

    ui_color = "#d7ecd9"

    def perform(self, context: Context) -> dict[str, int]:
        """Return how many were deleted and how many are left, or skip where steps need no cluster."""
        cluster = open_profile().kubernetes
        if cluster is None:
            raise AirflowSkipException("steps run in the tasks' own processes: there are no pods")
        return self._clean(context["ti"], cluster)

    def _clean(self, ti: Any, cluster: Kubernetes) -> dict[str, int]:
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

        from mlops.operators.pod import cluster_answers
        from mlops.orphans import orphans
        from mlops.workloads import Workloads

        with cluster_answers(self.task_id):
            workloads = Workloads(KubernetesHook(conn_id=cluster.connection), cluster.namespace)
            found = list(workloads.all())
            # After the cluster was asked: a task that began since has said so on its pod.
            states = _states(ti, {item.task for item in found if item.task is not None})
            gone = orphans(found, _done(self.store), states, datetime.now(UTC))
            deleted = [item for item in gone if workloads.delete(item.workload)]
        for item in deleted:
            self.log.info("deleted %s %s: %s", item.workload.kind, item.workload.name, item.why)
        return {"deleted": len(deleted), "left": len(found) - len(deleted)}


def _done(store: Store) -> dict[str, datetime | None]:
    """The calls of a store, each with the time of its receipt, if any."""
    from mlops.pod_spec import short

    calls = {short(PurePosixPath(path).stem): None for path in store.list("calls")}
    receipts = store.written("receipts").items()
    return calls | {short(PurePosixPath(path).stem): at for path, at in receipts}


def _states(ti: Any, tasks: Iterable[WaitingTask]) -> dict[WaitingTask | None, str | None]:
    """The state of each task that exists."""
    states: dict[WaitingTask | None, str | None] = {}
    for task in tasks:
        map_index = task.map_index if task.map_index >= 0 else None
        asked = {"task_ids": [task.task_id], "run_ids": [task.run_id], "map_index": map_index}
        answered = ti.get_task_states(task.dag_id, **asked).get(task.run_id, {})
        name = task.task_id if map_index is None else f"{task.task_id}_{map_index}"
        if name in answered:
            states[task] = answered[name]
    return states
