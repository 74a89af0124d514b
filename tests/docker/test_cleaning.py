"""The janitor on a real cluster: pods that nobody waits for go, and no other.

The pods' image is nowhere: they wait for it as long as they are let.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.sdk.exceptions import TaskDeferred
from mlops.operators.clean import CleanClusterOperator
from mlops.operators.pod import StepPodOperator
from mlops.orphans import orphans
from mlops.waiting_task import waited_for_by
from mlops.workloads import Workloads

from include.lifecycle.spec.compute import Compute
from include.lifecycle.store.receipts import Call, write_call
from tests.docker.cluster import Cluster, step_pod
from tests.docker.deferral import Task, context_of
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project, midnight

NOWHERE = "perennial-trainer:nowhere"
_LOOKS = 20


class Janitor(Task):
    """The janitor's own task instance, which may ask for the states of others."""

    states: dict[str, str] = {}
    """By run."""

    def get_task_states(self, dag_id: str, *, run_ids: list[str], **asked: Any) -> dict[str, dict[str, str]]:
        """What Airflow answers: nothing about what is not there."""
        (task_id,) = asked["task_ids"]
        return {run: {task_id: self.states[run]} for run in run_ids if run in self.states}


@pytest.fixture
def project(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project whose profile has steps run in the cluster's namespace, which is empty before and after."""
    project = tiny.make_project(tmp_path / "project", monkeypatch)
    where = {"namespace": cluster.namespace, "images": {"trainer": NOWHERE}}
    (project.specs / "profiles/pods.yaml").write_text(json.dumps({"kubernetes": where}))
    monkeypatch.setenv("PERENNIAL_PROFILE", "pods")
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", '{"conn_type": "kubernetes"}')
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_STORE", '{"conn_type": "generic"}')
    _empty(cluster)
    yield project
    _empty(cluster)


def _empty(cluster: Cluster) -> None:
    cluster.kubectl("delete", "jobs,services,pods", "--all", "--grace-period=0", "--force")


def _call(project: Project, number: int) -> Call:
    spec = project.catalog.dataset("trips").model_dump(mode="json")
    call = Call(step="extract", spec=spec, as_of=midnight(number), code="c" * 64)
    write_call(call, project.store)
    return call


def _deferred(call: Call, run_id: str) -> str:
    """A task of that run waits for the call; returns the name of its pod."""
    compute = Compute.model_validate({"cpu": 0.1, "memory": "64Mi"})
    operator = StepPodOperator(task_id="extract", run_key=call.run_key, compute=compute)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context_of(Task("extract", dag_id="trips.ingest", run_id=run_id)))
    return str(deferred.value.trigger.pod_name)


def _pods(cluster: Cluster) -> set[str]:
    found = json.loads(cluster.kubectl("get", "pods", "--output=json"))["items"]
    return {item["metadata"]["name"] for item in found if "deletionTimestamp" not in item["metadata"]}


def _clean(**states: str) -> Any:
    janitor = Janitor("cluster", dag_id="perennial.clean")
    janitor.states = states
    return CleanClusterOperator(task_id="cluster").execute(context_of(janitor))


def _cleaned(deleted: int, **states: str) -> None:
    """Look as often as it takes: a pod that changes under the janitor's eyes is left for its next look."""
    seen = 0
    for _ in range(_LOOKS):
        seen += _clean(**states)["deleted"]
        if seen >= deleted:
            break
    assert seen == deleted


def test_pods_go_when_their_task_ended_or_is_gone_and_no_other(cluster: Cluster, project: Project) -> None:
    waits, _, _ = (
        _deferred(_call(project, day), run) for day, run in enumerate(("waits", "failed", "deleted"), start=1)
    )
    anothers = cluster.create(_labelled(step_pod(NOWHERE), "f" * 32))["metadata"]["name"]
    _cleaned(2, waits="deferred", failed="failed")
    assert _pods(cluster) == {waits, anothers}
    assert _clean(waits="deferred")["deleted"] == 0


def test_a_pod_belongs_to_the_task_that_adopted_it_last(cluster: Cluster, project: Project) -> None:
    call = _call(project, 1)
    pod = _deferred(call, "first")
    assert _deferred(call, "second") == pod
    assert _clean(first="failed", second="deferred") == {"deleted": 0, "left": 1}
    _cleaned(1, first="deferred", second="failed")
    assert _pods(cluster) == set()


def test_the_second_pod_of_a_call_goes(cluster: Cluster, project: Project) -> None:
    call = _call(project, 1)
    first = _deferred(call, "waits")
    cluster.create(_labelled(step_pod(NOWHERE), call.run_key[:32]))
    _cleaned(1, waits="deferred")
    assert _pods(cluster) == {first}


def test_a_job_goes_with_its_pods_and_then_its_service(cluster: Cluster, project: Project) -> None:
    call, task = _call(project, 1), Task("extract", run_id="gone")
    template = _labelled(step_pod(NOWHERE), call.run_key[:32])
    of_pods = {"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]}
    about = {"name": "training", "labels": template["metadata"]["labels"], "annotations": waited_for_by(task)}
    cluster.create(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": {"template": of_pods}}
    )
    about = {"name": "workers", "labels": template["metadata"]["labels"]}
    port = {"selector": about["labels"], "ports": [{"port": 1}]}
    cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": port})
    cluster.kubectl("wait", "--for=jsonpath={.status.active}=1", "job/training", "--timeout=60s")
    workloads = Workloads(KubernetesHook(conn_id="kubernetes_default"), cluster.namespace)
    later = datetime.now(UTC) + timedelta(hours=1)
    found = list(workloads.all())
    assert sorted((item.kind, item.is_owned) for item in found) == [
        ("Job", False),
        ("Pod", True),
        ("Service", False),
    ]
    calls = {call.run_key[:32]: None}
    waiting = {item.task: "deferred" for item in found}
    assert orphans(found, calls, waiting, later) == []
    (job,) = orphans(found, calls, {}, later)
    assert job.workload.kind == "Job"
    assert workloads.delete(job.workload)
    cluster.kubectl("wait", "--for=delete", "pods", "--all", "--timeout=90s")
    (service,) = orphans(workloads.all(), calls, {}, later)
    assert workloads.delete(service.workload)
    assert list(workloads.all()) == []


def test_what_changed_since_it_was_seen_is_left_for_the_next_time(cluster: Cluster, project: Project) -> None:
    pod = _deferred(_call(project, 1), "first")
    workloads = Workloads(KubernetesHook(conn_id="kubernetes_default"), cluster.namespace)
    (seen,) = workloads.all()
    cluster.kubectl("annotate", "pod", pod, "adopted=meanwhile")
    assert not workloads.delete(seen)
    assert _pods(cluster) == {pod}


def _labelled(pod: dict[str, Any], run_key: str) -> dict[str, Any]:
    pod["metadata"]["labels"]["perennial/run-key"] = run_key
    return pod
