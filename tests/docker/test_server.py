"""The model server on a real cluster: nobody who asks it notices what happens to its pods."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from mlops.release_map import announcer

from include.lifecycle.release.document import ReleaseDocument
from tests.docker.callers import CALLERS
from tests.docker.cluster import Cluster
from tests.docker.served import LABEL, PODS, Deployed, logged, served
from tests.serving.released import MODEL
from tests.system.faults import require_commands, run_command

MEMORY = "1100Mi"


@pytest.fixture(scope="module")
def deployed(
    cluster: Cluster, server_image: str, pod_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    """A project on S3, with nothing deployed yet."""
    with served(cluster, server_image, pod_endpoint, tmp_path_factory.mktemp("served")) as found:
        yield found


def test_a_dry_run_tells_what_would_come_and_changes_nothing(deployed: Deployed) -> None:
    told = deployed.deploy(dry_run=True)
    kinds = ("NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment", "HorizontalPodAutoscaler")
    assert {name.split()[0] for name in told} == set(kinds)
    assert deployed.cluster.kubectl("get", "deployment", "--output=name") == ""


def test_servers_are_ready_only_with_a_champion(deployed: Deployed) -> None:
    deployed.deploy()
    deployed.wait(lambda: len(deployed.live()) == PODS, "all pods run")
    assert deployed.ready() == []
    deployed.release("1")
    deployed.await_ready(PODS)


def test_a_second_run_finds_nothing_to_change(deployed: Deployed) -> None:
    assert deployed.deploy() == {}


def test_no_request_fails_while_a_version_is_promoted_and_rolled_back(deployed: Deployed) -> None:
    with deployed.callers() as callers:
        for version, what in (("2", "promotion"), ("1", "rollback")):
            deployed.release(version)
            took = deployed.await_version(version)
            print(f"{what}: all {PODS} pods answer with the version after {took:.2f} s")
            assert took < 15
    assert callers.failed == []
    assert set(callers.versions) == {"1", "2"}


def test_no_request_fails_while_a_pod_is_deleted(deployed: Deployed) -> None:
    with deployed.callers() as callers:
        deployed.cluster.kubectl("delete", "pod", deployed.ready()[0], "--wait=false")
        deployed.await_ready(PODS)
    assert callers.failed == []
    assert callers.answered


def test_no_request_fails_while_a_node_is_drained(deployed: Deployed) -> None:
    node = deployed.pods()[0]["spec"]["nodeName"]
    with deployed.callers() as callers:
        try:
            how = [f"--pod-selector={LABEL}", "--delete-emptydir-data", "--timeout=110s"]
            deployed.cluster.kubectl("drain", node, *how)
            deployed.await_ready(PODS)
            assert node not in {pod["spec"]["nodeName"] for pod in deployed.pods()}
        finally:
            deployed.cluster.kubectl("uncordon", node)
    assert callers.failed == []


def test_no_request_fails_while_a_new_image_rolls_out(deployed: Deployed) -> None:
    before = set(deployed.ready())
    with deployed.callers() as callers:
        assert deployed.deploy(memory=MEMORY) == {"Deployment model-server": 4}
        deployed.wait(
            lambda: not before & {pod["metadata"]["name"] for pod in deployed.pods()}, "all are new"
        )
        deployed.await_ready(PODS)
    assert callers.failed == []


def test_a_killed_server_takes_at_most_the_requests_with_it_that_it_was_answering(deployed: Deployed) -> None:
    require_commands()
    with deployed.callers() as callers:
        assert run_command("CLUSTER_FAULT", "pod", f"{deployed.cluster.namespace}/{deployed.ready()[0]}")
        deployed.wait(lambda: deployed.restarts() > 0, "it is started again")
        deployed.await_ready(PODS)
    print(
        f"kill -9: {len(callers.failed)} of {CALLERS} callers lost a request, {callers.slowest:.1f} s at most"
    )
    assert len(callers.failed) <= CALLERS


def test_no_acknowledged_prediction_is_lost_whatever_became_of_its_pod(deployed: Deployed) -> None:
    assert deployed.acknowledged
    deployed.wait(lambda: deployed.acknowledged <= set(logged(deployed.project.store)), "all is in the store")


def test_of_two_places_that_tell_the_servers_the_newer_one_is_believed(deployed: Deployed) -> None:
    def tell(documents: list[ReleaseDocument]) -> None:
        announce = announcer()
        assert announce is not None
        for document in documents:
            announce(document)

    rising = [ReleaseDocument(model="other", seq=seq) for seq in range(10)]
    with ThreadPoolExecutor(2) as places:
        list(places.map(tell, [rising, rising[::-1]]))
    assert deployed.released("other").seq == 9
    assert deployed.released(MODEL).seq == deployed.seq


def test_more_pods_come_when_they_are_busy(deployed: Deployed) -> None:
    assert set(deployed.deploy(max_replicas=PODS + 1, busy=5, memory=MEMORY)) == {
        "HorizontalPodAutoscaler model-server"
    }
    with deployed.callers() as callers:
        deployed.wait(lambda: len(deployed.pods()) == PODS + 1, "there is one more")
    assert callers.failed == []
