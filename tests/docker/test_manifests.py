from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.docker.cluster import ROOT, Cluster, Refused, step_pod

RIGHTS_OF_AIRFLOW = {
    *(("", "pods", verb) for verb in ("create", "get", "list", "watch", "patch", "delete")),
    ("", "pods/log", "get"),
    *(("", "events", verb) for verb in ("list", "watch")),
    *(("", "services", verb) for verb in ("list", "delete")),
    *(("batch", "jobs", verb) for verb in ("create", "get", "list", "watch", "delete")),
    *(
        (group, kind, verb)
        for group in ("apps", "autoscaling", "policy", "networking.k8s.io")
        for kind in ("deployments", "horizontalpodautoscalers", "poddisruptionbudgets", "networkpolicies")
        for verb in ("create", "get", "patch")
    ),
    *(("", kind, verb) for kind in ("configmaps", "services") for verb in ("create", "get", "patch")),
}
UNREACHABLE = """
apiVersion: v1
kind: Config
clusters: [{name: gone, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: gone, context: {cluster: gone, user: nobody}}]
users: [{name: nobody, user: {}}]
current-context: gone
"""


def test_the_check_passes_where_the_namespace_is_not_there_yet_and_leaves_nothing(cluster: Cluster) -> None:
    before = cluster.kubectl("get", "namespace", "perennial", "--ignore-not-found", "--output=name")
    checked = _deploy_check(os.environ)
    assert checked.returncode == 0, checked.stderr
    assert "kubectl apply -k docker/manifests" in checked.stdout
    assert before == cluster.kubectl("get", "namespace", "perennial", "--ignore-not-found", "--output=name")


def test_without_a_kubeconfig_the_check_says_so() -> None:
    checked = _deploy_check({name: value for name, value in os.environ.items() if name != "KUBECONFIG"})
    assert checked.returncode != 0
    assert "KUBECONFIG is not set" in checked.stderr


def test_a_kubeconfig_that_is_not_there_is_said_to_be_missing(cluster: Cluster, tmp_path: Path) -> None:
    checked = _deploy_check({**os.environ, "KUBECONFIG": str(tmp_path / "missing")})
    assert checked.returncode != 0
    assert "missing is missing" in checked.stderr


def test_a_cluster_that_does_not_answer_is_named(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "gone").write_text(UNREACHABLE)
    checked = _deploy_check({**os.environ, "KUBECONFIG": str(tmp_path / "gone")})
    assert checked.returncode != 0
    assert f"the cluster of {tmp_path / 'gone'} does not answer" in checked.stderr


def test_the_account_of_steps_may_do_what_anybody_may(cluster: Cluster) -> None:
    assert _rights(cluster, "perennial-step") == _rights(cluster, "nobody")


def test_the_account_of_the_server_may_read_the_releases_and_nothing_else(cluster: Cluster) -> None:
    more = _rights(cluster, "perennial-server") - _rights(cluster, "nobody")
    assert more == {("", "configmaps", verb) for verb in ("get", "watch")}
    who = f"--as=system:serviceaccount:{cluster.namespace}:perennial-server"
    assert cluster.kubectl("auth", "can-i", "get", "configmaps/model-releases", who).strip() == "yes"
    with pytest.raises(Refused):
        cluster.kubectl("auth", "can-i", "get", "configmaps/another", who)


def test_the_account_of_airflow_may_start_watch_and_clean_up_pods_and_deploy_the_server_and_nothing_else(
    cluster: Cluster,
) -> None:
    assert _rights(cluster, "perennial-airflow") - _rights(cluster, "nobody") == RIGHTS_OF_AIRFLOW


def test_the_account_of_airflow_may_do_nothing_in_other_namespaces(cluster: Cluster) -> None:
    elsewhere = _rights(cluster, "perennial-airflow", namespace="default")
    assert elsewhere == _rights(cluster, "nobody", namespace="default")


def test_more_gpus_than_the_quota_has_are_refused(cluster: Cluster) -> None:
    pod = step_pod("perennial-trainer:test")
    pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "5"
    with pytest.raises(Refused, match=r"exceeded quota.*requests.nvidia.com/gpu=5"):
        cluster.create(pod)


@pytest.mark.parametrize(
    ("context", "complaint"),
    [
        ({"capabilities": {"drop": ["ALL"]}}, "allowPrivilegeEscalation != false"),
        ({"allowPrivilegeEscalation": False}, "unrestricted capabilities"),
        (
            {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsUser": 0},
            "runAsUser=0",
        ),
    ],
)
def test_a_pod_that_wants_more_than_a_step_needs_is_refused(
    cluster: Cluster, context: dict[str, Any], complaint: str
) -> None:
    pod = step_pod("perennial-trainer:test")
    pod["spec"]["containers"][0]["securityContext"] = context
    with pytest.raises(Refused, match=complaint):
        cluster.create(pod)


def test_a_container_that_asks_for_nothing_gets_bounded_memory_and_scratch(cluster: Cluster) -> None:
    pod = step_pod("perennial-trainer:test")
    del pod["spec"]["containers"][0]["resources"]
    made = cluster.create(pod, "--dry-run=server")
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "1", "memory": "4Gi", "ephemeral-storage": "2Gi"},
        "limits": {"memory": "4Gi", "ephemeral-storage": "20Gi"},
    }


def test_steps_give_way_to_everything_else(cluster: Cluster) -> None:
    made = cluster.create(step_pod("perennial-trainer:test"), "--dry-run=server")
    assert made["spec"]["priority"] < 0
    assert made["spec"]["preemptionPolicy"] == "Never"


def _deploy_check(environment: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", "deploy-check"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )


def _rights(cluster: Cluster, account: str, namespace: str | None = None) -> set[tuple[str, str, str]]:
    """What a service account may do, as the API server sees it: group, resource and verb."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace or cluster.namespace},
    }
    who = f"--as=system:serviceaccount:{cluster.namespace}:{account}"
    return {
        (group, resource, verb)
        for rule in cluster.create(review, who, "--validate=false")["status"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
