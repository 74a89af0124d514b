"""What does the pod of a call look like? It learns the run key and the names of Secrets, no data."""

from __future__ import annotations

from kubernetes.client import models as k8s

from include.lifecycle.spec.compute import Compute, Toleration
from include.lifecycle.spec.profile import Kubernetes
from include.lifecycle.steps.code import git_commit
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, read_call

CONTAINER = "step"
RUN_KEY, STEP, ATTEMPT = "perennial/run-key", "perennial/step", "perennial/attempt"
SCRATCH = "/tmp"  # noqa: S108
_QUEUE = "kueue.x-k8s.io/queue-name"
GPU = "nvidia.com/gpu"
_UID = k8s.V1EnvVar(
    name="PERENNIAL_POD_UID",
    value_from=k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path="metadata.uid")),
)


def pod_of(
    call: Call, subject: dict[str, str], compute: Compute, cluster: Kubernetes, attempt: int
) -> k8s.V1Pod:
    """The pod that runs a call; its name gets a random end, since two pods of a call do no harm."""
    name = pod_name(call, subject)
    return k8s.V1Pod(
        api_version="v1",
        kind="Pod",
        metadata=k8s.V1ObjectMeta(
            namespace=cluster.namespace, name=name[:200], labels=labels_of(call, subject, compute, attempt)
        ),
        spec=k8s.V1PodSpec(
            restart_policy="Never",
            service_account_name=cluster.service_account,
            automount_service_account_token=False,
            enable_service_links=False,
            priority_class_name=cluster.priority_class,
            node_selector=compute.node_selector or None,
            tolerations=[_toleration(item) for item in compute.tolerations] or None,
            runtime_class_name=compute.runtime_class,
            active_deadline_seconds=int(compute.deadline.total_seconds()),
            security_context=k8s.V1PodSecurityContext(
                run_as_non_root=True, seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault")
            ),
            containers=[_container(call, compute, cluster)],
            volumes=[k8s.V1Volume(name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource())],
        ),
    )


def pod_name(call: Call, subject: dict[str, str]) -> str:
    """Whom a pod is about and what it does, as Kubernetes allows it in a name."""
    return "-".join((*subject.values(), call.step)).replace("_", "-")


def subject_of(call: Call, store: Store) -> dict[str, str]:
    """The model or the dataset that a call is about; steps after a training name only its call."""
    if (trained := call.inputs.get("train")) is not None:
        call = read_call(trained, store)
    if "model" in call.spec:
        return {"model": str(call.spec["model"]["name"])}
    return {"dataset": str(call.spec["name"])}


def labels_of(call: Call, subject: dict[str, str], compute: Compute, attempt: int) -> dict[str, str]:
    """What a pod says of its call; a label has room for half of the run key."""
    labels = {f"perennial/{kind}": name for kind, name in subject.items()}
    labels |= {STEP: call.step, RUN_KEY: short(call.run_key), ATTEMPT: str(attempt)}
    if compute.queue:
        labels[_QUEUE] = compute.queue
    return labels


def short(run_key: str) -> str:
    """The first 32 hex digits of a run key."""
    return run_key[:32]


def _container(call: Call, compute: Compute, cluster: Kubernetes) -> k8s.V1Container:
    told = {
        "PERENNIAL_CALL": call.run_key,
        "PERENNIAL_THREADS": str(max(1, int(compute.cpu))),
        # The rest is for what DuckDB does not count: Python, pandas, XGBoost.
        "PERENNIAL_MEMORY": str(compute.memory // 2),
        "PERENNIAL_COMMIT": git_commit() or "",
    }
    return k8s.V1Container(
        name=CONTAINER,
        image=cluster.image(compute.image),
        image_pull_policy="IfNotPresent",
        env=[*(k8s.V1EnvVar(name=name, value=value) for name, value in told.items()), _UID],
        env_from=[
            k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=name)) for name in cluster.secrets
        ],
        resources=resources_of(compute),
        volume_mounts=[k8s.V1VolumeMount(name="scratch", mount_path=SCRATCH)],
        security_context=k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
        ),
        termination_message_policy="FallbackToLogsOnError",
    )


def resources_of(compute: Compute) -> k8s.V1ResourceRequirements:
    """What a step's container is promised, and may not exceed."""
    promised = {"cpu": f"{compute.cpu:g}", "memory": str(int(compute.memory))}
    gpu = {GPU: str(compute.gpu)} if compute.gpu else {}
    return k8s.V1ResourceRequirements(
        requests={**promised, **gpu}, limits={"memory": promised["memory"], **gpu}
    )


def _toleration(item: Toleration) -> k8s.V1Toleration:
    return k8s.V1Toleration(key=item.key, operator=item.operator, value=item.value, effect=item.effect)
