"""What is there of steps in the cluster: listed, and deleted only as it was seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException

from mlops.orphans import Workload
from mlops.pod_spec import RUN_KEY
from mlops.waiting_task import waiting_task

if TYPE_CHECKING:
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook


class Workloads:
    """The pods, Jobs and Services of calls in one namespace."""

    def __init__(self, hook: KubernetesHook, namespace: str) -> None:
        self._core, self._batch = hook.core_v1_client, hook.batch_v1_client
        self._namespace = namespace

    def all(self) -> Iterator[Workload]:
        """Everything that names a call by its label."""
        told = {"namespace": self._namespace, "label_selector": RUN_KEY}
        for pod in self._core.list_namespaced_pod(**told).items:
            yield _workload("Pod", pod, _end_of_pod(pod))
        for job in self._batch.list_namespaced_job(**told).items:
            yield _workload("Job", job, _end_of_job(job))
        for service in self._core.list_namespaced_service(**told).items:
            yield _workload("Service", service)

    def delete(self, item: Workload) -> bool:
        """Delete it with what it owns; False when it is gone, or was changed since it was seen."""
        delete = {
            "Pod": self._core.delete_namespaced_pod,
            "Job": self._batch.delete_namespaced_job,
            "Service": self._core.delete_namespaced_service,
        }[item.kind]
        seen = k8s.V1Preconditions(uid=item.uid, resource_version=item.resource_version)
        options = k8s.V1DeleteOptions(preconditions=seen, propagation_policy="Background")
        try:
            delete(item.name, self._namespace, body=options)
        except ApiException as error:
            if error.status in (404, 409):
                return False
            raise
        return True


def _workload(kind: str, item: Any, ended: datetime | None = None) -> Workload:
    about = item.metadata
    return Workload(
        kind=kind,
        name=about.name,
        run_key=about.labels[RUN_KEY],
        created=about.creation_timestamp,
        ended=ended,
        task=waiting_task(about.annotations),
        is_owned=bool(about.owner_references),
        is_going=about.deletion_timestamp is not None,
        uid=about.uid,
        resource_version=about.resource_version,
    )


def _end_of_pod(pod: k8s.V1Pod) -> datetime | None:
    if pod.status.phase not in ("Succeeded", "Failed"):
        return None
    ended = [item.state.terminated for item in pod.status.container_statuses or () if item.state.terminated]
    created: datetime = pod.metadata.creation_timestamp
    return max((item.finished_at for item in ended if item.finished_at), default=created)


def _end_of_job(job: k8s.V1Job) -> datetime | None:
    for item in job.status.conditions or ():
        if item.type in ("Complete", "Failed") and item.status == "True":
            ended: datetime = item.last_transition_time
            return ended
    return None
