"""Every step in a real pod, with the rights and the Secrets that a step gets."""

from __future__ import annotations

import json
import os

import pytest

from include.lifecycle.monitor.windows import Window
from include.lifecycle.steps import evaluate, extract, publish, register, reproduce, train, validate
from include.lifecycle.steps.provenance import RECORDS
from include.lifecycle.steps.running import run_step
from include.lifecycle.steps.searching import ask_round, plan_search
from include.lifecycle.steps.trial import outcome_of
from include.lifecycle.steps.watching import plan_window
from include.lifecycle.store.receipts import Receipt, receipt_path
from tests.docker.cluster import step_pod
from tests.docker.pods import Pods
from tests.lifecycle import tiny
from tests.lifecycle.ingesting import fates
from tests.lifecycle.steps.test_watching import serve
from tests.lifecycle.tiny import MODEL, midnight
from tests.servers import Bucket


@pytest.fixture(scope="module")
def trained(pods: Pods) -> Receipt:
    """A training as of the 22nd day, done by a pod."""
    project = pods.project
    return pods.run(train.plan(project.catalog.model(MODEL), project.catalog, midnight(22), project.store))


def test_a_training_in_a_pod_is_the_training_in_process(pods: Pods, trained: Receipt) -> None:
    store = pods.project.store
    store.remove(receipt_path(trained.run_key))
    again, adopted = run_step(trained.call, store)
    assert not adopted
    learned = trained.outputs.keys() - RECORDS
    assert {name: again.outputs[name] for name in learned} == {
        name: trained.outputs[name] for name in learned
    }
    assert again.results == trained.results


def test_a_partition_is_extracted_with_a_named_connection_then_validated_and_published(
    pods: Pods, monkeypatch: pytest.MonkeyPatch, pod_endpoint: str
) -> None:
    project, bucket, day = pods.project, Bucket(), "2024-01-25"
    bucket.put(f"{day}.csv", tiny.trips(25).to_csv(index=False).encode())
    source = f'{{type: object_store, connection: landing, uri: "{bucket.uri}/{{partition:%Y-%m-%d}}.csv"}}'
    project.edit("datasets/trips.yaml", '{type: files, path: "trips/{partition:%Y-%m-%d}.csv"}', source)
    monkeypatch.setenv("AIRFLOW_CONN_LANDING", _landing(os.environ["AWS_ENDPOINT_URL"]))
    pods.cluster.share("perennial-connections", {"AIRFLOW_CONN_LANDING": _landing(pod_endpoint)})

    spec = project.catalog.dataset("trips")
    extracted = pods.run(extract.plan(spec, day, project.store), "perennial-connections")
    validated = pods.run(validate.plan(spec, day, extracted.outputs["staged"], 0, project.store))
    published = pods.run(publish.plan(validated, None, project.store))
    assert fates(published) == published.counts["rows_in"] == len(tiny.trips(25))


def test_a_version_is_evaluated_registered_and_measured(pods: Pods, trained: Receipt) -> None:
    project = pods.project
    evaluated = pods.run(evaluate.plan(trained, None, project.store))
    assert evaluated.results["evaluation"]["candidate"]["auc"]["value"] > 0.6
    registered = pods.run(register.plan(trained, evaluated, tiny.PASSED))
    assert registered.results["version"] == "1"
    tiny.crown(project, trained, "1")
    serve(project, trained, range(19, 25))
    call = plan_window(project.catalog, MODEL, project.store, slot=midnight(24))
    assert call is not None
    measured = pods.run(call)
    assert Window.model_validate(measured.results["window"]).rows > 0
    assert "report" in measured.outputs


def test_a_version_is_made_again_by_a_pod(pods: Pods, trained: Receipt) -> None:
    tiny.propose_version(pods.project, trained, "1")
    again = pods.run(reproduce.plan(MODEL, "1", pods.project.store, occasion="a pod"))
    assert again.results["reproduction"]["differing"] == []


def test_the_trials_of_a_search_run_in_pods(pods: Pods) -> None:
    project = pods.project
    project.add("models/late.yaml", tiny.SEARCH)
    call = plan_search(MODEL, project.catalog, project.store, slot=midnight(22), now=midnight(23))
    for asked in ask_round(call.run_key, 0, project.store, midnight(23)):
        assert outcome_of(pods.run(asked.call)).state == "complete"


def test_a_call_that_nobody_recorded_is_refused_for_good(pods: Pods) -> None:
    assert pods.cluster.run(step_pod(pods.image, "0" * 64))[0] == 1


def _landing(endpoint: str) -> str:
    login = {"login": os.environ["AWS_ACCESS_KEY_ID"], "password": os.environ["AWS_SECRET_ACCESS_KEY"]}
    extra = {"endpoint_url": endpoint, "region_name": os.environ["AWS_REGION"]}
    return json.dumps({"conn_type": "aws", **login, "extra": extra})
