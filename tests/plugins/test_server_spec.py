from typing import Any

import pytest
from mlops.server_spec import server_objects

from include.lifecycle.spec.profile import Kubernetes, ModelServer


def _objects(**server: Any) -> dict[str, Any]:
    made = server_objects(Kubernetes(namespace="here"), ModelServer(**server))
    return {f"{item['kind']} {item['metadata']['name']}": item["spec"] for item in made}


def _pod(**server: Any) -> dict[str, Any]:
    pod: dict[str, Any] = _objects(**server)["Deployment model-server"]["template"]["spec"]
    return pod


def test_the_autoscaler_alone_says_how_many_pods_there_are() -> None:
    objects = _objects(replicas=2, max_replicas=5, busy=60)
    assert "replicas" not in objects["Deployment model-server"]
    scaler = objects["HorizontalPodAutoscaler model-server"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 5)
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 60


def test_every_selector_finds_the_pods() -> None:
    objects = _objects()
    labels = objects["Deployment model-server"]["template"]["metadata"]["labels"]
    assert objects["Deployment model-server"]["selector"]["matchLabels"] == labels
    assert objects["PodDisruptionBudget model-server"]["selector"]["matchLabels"] == labels
    assert objects["NetworkPolicy model-server"]["podSelector"]["matchLabels"] == labels
    assert objects["Service model-server"]["selector"] == labels
    assert objects["Service model-server-pods"] == {**objects["Service model-server"], "clusterIP": "None"}


def test_no_pod_goes_before_another_one_is_ready() -> None:
    strategy = _objects()["Deployment model-server"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_a_server_learns_its_releases_and_the_names_of_secrets_alone() -> None:
    (container,) = _pod(secrets=("store", "keys"))["containers"]
    told = {item["name"]: item.get("value") for item in container["env"]}
    assert told["PERENNIAL_RELEASES"] == "configmap://here/model-releases"
    assert [item["secretRef"]["name"] for item in container["envFrom"]] == ["store", "keys"]
    assert set(told) == {"POD_NAME", "PERENNIAL_HOME", "PERENNIAL_RELEASES"}


def test_a_server_may_do_as_little_as_can_be() -> None:
    pod = _pod()
    assert pod["serviceAccountName"] == "perennial-server"
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_port_is_kept_by_a_container_that_outlives_the_server() -> None:
    pod = _pod()
    (keeper,), (container,) = pod["initContainers"], pod["containers"]
    assert keeper["restartPolicy"] == "Always"
    assert keeper["command"][-1] == container["args"][-1]
    assert "envFrom" not in keeper, "it needs no secret"


def test_predictions_wait_on_a_claim_where_there_is_one() -> None:
    assert _pod()["volumes"][0] == {"name": "home", "emptyDir": {}}
    claimed = _pod(claim="predictions")
    assert {"name": "PERENNIAL_HOMES", "value": "/var/lib/perennial"} in claimed["containers"][0]["env"]
    assert claimed["volumes"][0] == {"name": "home", "persistentVolumeClaim": {"claimName": "predictions"}}


def test_a_most_that_is_less_than_the_least_is_refused() -> None:
    with pytest.raises(ValueError, match="max_replicas: 2 is less than replicas: 3"):
        ModelServer(replicas=3, max_replicas=2)
