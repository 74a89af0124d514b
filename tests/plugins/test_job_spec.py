from datetime import UTC, datetime
from typing import Any

from kubernetes.client import ApiClient
from mlops.job_spec import job_of

from include.lifecycle.spec.compute import Compute
from include.lifecycle.spec.profile import Kubernetes
from include.lifecycle.store.receipts import Call

CALL = Call(
    step="train",
    spec={"model": {"name": "late_trips"}},
    inputs={"workers": 3},
    as_of=datetime(2024, 1, 1, tzinfo=UTC),
    code="c",
)


def _job(attempt: int = 1, **needs: Any) -> dict[str, Any]:
    job = job_of(CALL, {"model": "late_trips"}, Compute.model_validate(needs), Kubernetes(), attempt)
    found: dict[str, Any] = ApiClient().sanitize_for_serialization(job)
    return found


def test_each_worker_is_a_pod_that_knows_its_rank_and_its_address() -> None:
    spec = _job()["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    (container,) = spec["template"]["spec"]["containers"]
    told = {item["name"]: item for item in container["env"]}
    assert told["PERENNIAL_CALL"]["value"] == CALL.run_key
    assert told["PERENNIAL_ADDRESS"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}


def test_a_call_has_one_job_whichever_attempt_asks_for_it() -> None:
    names = {_job(attempt)["metadata"]["name"] for attempt in (1, 2)}
    assert names == {f"late-trips-train-{CALL.run_key[:12]}"}


def test_workers_are_spread_over_the_nodes_where_there_is_room() -> None:
    (spread,) = _job()["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    assert spread["labelSelector"]["matchLabels"] == {"perennial/run-key": CALL.run_key[:32]}


def test_a_refusal_ends_the_job_and_a_lost_worker_is_started_again() -> None:
    spec = _job()["spec"]
    refusal, disrupted = spec["podFailurePolicy"]["rules"]
    assert (refusal["action"], refusal["onExitCodes"]["values"]) == ("FailJob", [1])
    assert (disrupted["action"], disrupted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert spec["backoffLimit"] == 9
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_the_deadline_is_over_all_the_pods_of_a_job() -> None:
    spec = _job(deadline="2h", patience="30m")["spec"]
    assert spec["activeDeadlineSeconds"] == 9000
    assert "activeDeadlineSeconds" not in spec["template"]["spec"]
