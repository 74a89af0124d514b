"""What does the Job of a call for several workers look like? One pod each, over all nodes."""

from __future__ import annotations

from kubernetes.client import models as k8s

from include.lifecycle.errors import Rejected
from include.lifecycle.spec.compute import Compute
from include.lifecycle.spec.profile import Kubernetes
from include.lifecycle.steps.together import workers_of
from include.lifecycle.store.meeting import ADDRESS
from include.lifecycle.store.receipts import Call
from mlops.pod_spec import CONTAINER, RUN_KEY, pod_name, pod_of, short

_LOSSES = 3
"""Times that a worker may be lost before the Job gives up; each ends the pods of all."""
_KEPT = 3600
"""Seconds that a Job which has ended can be looked at."""


def job_of(
    call: Call, subject: dict[str, str], compute: Compute, cluster: Kubernetes, attempt: int
) -> k8s.V1Job:
    """The Indexed Job that runs a call."""
    pod, workers = pod_of(call, subject, compute, cluster, attempt), workers_of(call)
    pod.spec.active_deadline_seconds = None  # the Job has one, over all its pods
    pod.spec.topology_spread_constraints = [_over_nodes(call)]
    where = k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path="status.podIP"))
    pod.spec.containers[0].env.append(k8s.V1EnvVar(name=ADDRESS, value_from=where))
    return k8s.V1Job(
        api_version="batch/v1",
        kind="Job",
        metadata=k8s.V1ObjectMeta(
            namespace=cluster.namespace,
            name=job_name(call, subject),
            labels=pod.metadata.labels,
        ),
        spec=k8s.V1JobSpec(
            completion_mode="Indexed",
            completions=workers,
            parallelism=workers,
            backoff_limit=_LOSSES * workers,
            pod_failure_policy=_failures(),
            active_deadline_seconds=int((compute.patience + compute.deadline).total_seconds()),
            ttl_seconds_after_finished=_KEPT,
            template=k8s.V1PodTemplateSpec(
                metadata=k8s.V1ObjectMeta(labels=pod.metadata.labels), spec=pod.spec
            ),
        ),
    )


def job_name(call: Call, subject: dict[str, str]) -> str:
    """The call's, so that there is one at a time."""
    return f"{pod_name(call, subject)[:40]}-{call.run_key[:12]}"


def _failures() -> k8s.V1PodFailurePolicy:
    """A refusal ends the Job; a pod that made room for others is none of the losses."""
    refusal = k8s.V1PodFailurePolicyOnExitCodesRequirement(
        container_name=CONTAINER, operator="In", values=[Rejected.exit_code]
    )
    disrupted = k8s.V1PodFailurePolicyOnPodConditionsPattern(type="DisruptionTarget", status="True")
    return k8s.V1PodFailurePolicy(
        rules=[
            k8s.V1PodFailurePolicyRule(action="FailJob", on_exit_codes=refusal),
            k8s.V1PodFailurePolicyRule(action="Ignore", on_pod_conditions=[disrupted]),
        ]
    )


def _over_nodes(call: Call) -> k8s.V1TopologySpreadConstraint:
    return k8s.V1TopologySpreadConstraint(
        max_skew=1,
        topology_key="kubernetes.io/hostname",
        when_unsatisfiable="ScheduleAnyway",
        label_selector=k8s.V1LabelSelector(match_labels={RUN_KEY: short(call.run_key)}),
    )
