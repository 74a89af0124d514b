from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubernetes.client import ApiClient
from mlops.pod_spec import labels_of, pod_of, subject_of

from include.lifecycle.spec.compute import Compute
from include.lifecycle.spec.profile import Kubernetes
from include.lifecycle.steps.code import git_commit
from include.lifecycle.store.objects import Store
from include.lifecycle.store.receipts import Call, write_call

CALL = Call(step="train", spec={"model": {"name": "late"}}, as_of=datetime(2024, 1, 1, tzinfo=UTC), code="c")
NEEDS: dict[str, Any] = {
    "cpu": 3.5,
    "memory": "16Gi",
    "gpu": 1,
    "node_selector": {"pool": "gpu"},
    "tolerations": [{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
    "runtime_class": "nvidia",
    "queue": "nightly",
    "deadline": "2h",
}


def _pod(**needs: Any) -> dict[str, Any]:
    pod = pod_of(CALL, {"model": "late"}, Compute.model_validate(needs), Kubernetes(), attempt=2)
    found: dict[str, Any] = ApiClient().sanitize_for_serialization(pod)
    return found


def test_a_pod_gets_what_the_spec_asks_for() -> None:
    spec = _pod(**NEEDS)["spec"]
    (container,) = spec["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "3.5", "memory": str(16 << 30), "nvidia.com/gpu": "1"},
        "limits": {"memory": str(16 << 30), "nvidia.com/gpu": "1"},
    }
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert spec["tolerations"] == NEEDS["tolerations"]
    assert (spec["runtimeClassName"], spec["activeDeadlineSeconds"]) == ("nvidia", 7200)


def test_a_pod_is_told_what_to_run_with_how_much_and_the_names_of_secrets_alone() -> None:
    (container,) = _pod(**NEEDS)["spec"]["containers"]
    assert {item["name"]: item.get("value") for item in container["env"]} == {
        "PERENNIAL_CALL": CALL.run_key,
        "PERENNIAL_THREADS": "3",
        "PERENNIAL_MEMORY": str(8 << 30),
        "PERENNIAL_COMMIT": git_commit() or "",
        "PERENNIAL_POD_UID": None,
    }
    assert container["env"][-1]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.uid"}}
    assert container["envFrom"] == [{"secretRef": {"name": "perennial-store"}}]
    assert not {"command", "args"} & set(container)


def test_a_pod_may_do_as_little_as_can_be() -> None:
    spec = _pod()["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_labels_name_subject_step_run_key_and_attempt() -> None:
    labels = labels_of(CALL, {"model": "late"}, Compute.model_validate(NEEDS), attempt=2)
    assert labels == {
        "perennial/model": "late",
        "perennial/step": "train",
        "perennial/run-key": CALL.run_key[:32],
        "perennial/attempt": "2",
        "kueue.x-k8s.io/queue-name": "nightly",
    }
    assert all(len(value) <= 63 for value in labels.values())


def test_a_call_is_about_the_dataset_or_the_model_that_it_or_its_training_names(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write_call(CALL, store)
    ingest = CALL.model_copy(update={"step": "extract", "spec": {"name": "trips"}})
    register = CALL.model_copy(update={"step": "register", "spec": {}, "inputs": {"train": CALL.run_key}})
    assert subject_of(CALL, store) == subject_of(register, store) == {"model": "late"}
    assert subject_of(ingest, store) == {"dataset": "trips"}
