"""The whole loop on a real stack, in the order of a model's life: each test goes on where the one
before it stopped."""

from __future__ import annotations

import os
import time
from datetime import date, timedelta
from typing import Any

import httpx
import mlflow
import pytest

from include.demo import traffic
from include.demo.airflow_api import ENDED
from include.demo.replay import DAGS, MODEL
from include.lifecycle.data.publishing import published_table
from include.lifecycle.release.document import read_release
from include.lifecycle.release.state import MOVES
from include.lifecycle.store.ledger import Entry, Ledger
from tests.system.world import COLLEAGUE, FIRST_DAY, FIRST_LIVE_DAY, World

pytestmark = pytest.mark.stack


def get(world: World, path: str, **query: Any) -> Any:
    """What Airflow's REST API answers."""
    return world.airflow.get(path, query)


def newest_run(world: World, dag_id: str) -> str:
    return str(world.airflow.runs(dag_id)[0]["dag_run_id"])


def links(world: World, dag_id: str, task_id: str) -> dict[str, str]:
    path = f"/dags/{dag_id}/dagRuns/{newest_run(world, dag_id)}/taskInstances/{task_id}/links"
    found: dict[str, str] = get(world, path)["extra_links"]
    return found


def champion(world: World) -> str:
    state = world.replay.state()
    assert state.champion is not None
    return state.champion.version


def test_a_backfill_ingests_and_the_first_training_becomes_champion(world: World) -> None:
    world.airflow.wait_for_dags(DAGS)
    world.replay.history(FIRST_DAY, FIRST_LIVE_DAY)

    partitions = published_table("flights", world.store).partitions()
    assert len(partitions) == (FIRST_LIVE_DAY - FIRST_DAY).days
    assert champion(world) == "1"
    document = read_release(MODEL, world.store)
    assert document is not None
    assert document.champion is not None
    assert document.champion.version == "1"


RELEASE = """
release:
  shadow: {duration: 0s, rows: 0}
  canary: {shares: [0.5], duration: 0s, requests: 0}
"""


def test_drift_retrains_and_a_new_version_comes_through_shadow_and_canary(world: World) -> None:
    path = world.specs / "models" / f"{MODEL}.yaml"
    path.write_text(path.read_text() + RELEASE)
    day = FIRST_LIVE_DAY
    while not world.replay.live(day):
        day += timedelta(days=1)
        assert day < FIRST_LIVE_DAY + timedelta(days=5), "no retraining in five days"

    assert champion(world) == "2"
    metadata = httpx.get(f"{world.stack.server_url}/v2/models/{MODEL}").json()
    assert metadata["versions"] == ["2"]
    events = [entry.event for entry in Ledger(world.store, MODEL).entries()]
    later = [event for event in events[events.index("retrain") :] if event in (*MOVES, "promoted")]
    assert later == ["proposed", "staged", "approved", "shadow", "canary", "promoted"]
    assert {run["run_type"] for run in world.airflow.runs(f"{MODEL}.train")} == {
        "scheduled",
        "asset_triggered",
    }


def test_a_version_that_learned_another_label_is_taken_out_of_traffic(world: World) -> None:
    path = world.specs / "models" / f"{MODEL}.yaml"
    policy = path.read_text()
    path.write_text(policy.replace("rows: 0", "rows: 1000"))
    second = world.replay.state().champion
    assert second is not None
    day = second.as_of.date()
    assert not world.replay.live(day), "a second retraining"

    world.replay.careless(world.specs, day + timedelta(days=1))

    path.write_text(policy)  # nobody asks the server any more, which a later version would wait for
    assert champion(world) == "2"
    first, *_, last = [entry for entry in Ledger(world.store, MODEL).entries() if _is_about(entry, "3")]
    assert (first.event, last.event) == ("proposed", "aborted")
    assert "its answers to the same rows differ" in last.why
    assert httpx.get(f"{world.stack.server_url}/v2/models/{MODEL}").json()["versions"] == ["2"]


def _is_about(entry: Entry, version: str) -> bool:
    return entry.data.get("version") == version and entry.event in (*MOVES, "aborted", "promoted")


def test_the_champion_loads_from_mlflow_without_pickle_and_answers_as_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.set_tracking_uri(world.stack.mlflow_url)
    rows = traffic.requests_of(FIRST_LIVE_DAY).head(20)

    loaded = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")
    types = loaded.metadata.get_input_schema().numpy_types()
    names = loaded.metadata.get_input_schema().input_names()
    typed = rows[names].astype({n: t for n, t in zip(names, types, strict=True) if t.kind in "fi"})
    typed["time_hour"] = typed["time_hour"].str.removesuffix("Z").astype("datetime64[us]")
    answers = loaded.predict(typed)["probability"].tolist()

    plain = rows.astype(object).where(rows.notna(), None)
    body = {"dataframe_split": {"columns": list(plain), "data": plain.to_numpy().tolist()}}
    reply = httpx.post(f"{world.stack.server_url}/invocations", json=body)
    assert reply.json()["predictions"] == pytest.approx(answers, abs=1e-6)


def test_tasks_link_to_what_they_made_and_pages_need_a_login(world: World) -> None:
    assert set(links(world, f"{MODEL}.train", "register")) == {"MLflow run", "MLflow version"}
    assert set(links(world, f"{MODEL}.release", "stage")) == {"MLflow version"}
    pages = [
        links(world, "flights.ingest", "validate")["Great Expectations"],
        links(world, f"{MODEL}.monitor", "measure")["Evidently report"],
    ]
    for page in pages:
        address = f"{world.stack.airflow_url}{page}"
        assert httpx.get(address).status_code == 401
        seen = httpx.get(address, headers={"Authorization": f"Bearer {world.stack.token()}"})
        assert seen.status_code == 200
        assert seen.headers["content-security-policy"] == "sandbox allow-scripts"
        assert "<html" in seen.text.lower()


@pytest.mark.parametrize("dag_id", sorted(DAGS))
def test_any_dag_can_be_triggered_by_hand_without_a_logical_date(world: World, dag_id: str) -> None:
    conf = {"partition": FIRST_DAY.isoformat()} if dag_id == "flights.ingest" else {}
    conf = {"partition": f"{FIRST_DAY:%Y-%m}"} if dag_id == "weather.ingest" else conf
    before = champion(world), published_table("flights", world.store).version()

    run = world.airflow.trigger(dag_id, conf)

    assert run["state"] == "success"
    assert run["logical_date"] is None
    assert (champion(world), published_table("flights", world.store).version()) == before


def _is_settled(world: World) -> bool:
    """Whether nothing is left to decide, as after a training by hand with a label that came back."""
    runs = world.airflow.runs(f"{MODEL}.release")
    return not world.replay.state().undecided and {run["state"] for run in runs} <= ENDED


def test_a_cleared_run_finds_its_work_done(world: World) -> None:
    world.airflow.until(lambda: _is_settled(world), "the end of all releases", patience=120)
    commits = published_table("flights", world.store).version()
    entries = len(Ledger(world.store, MODEL).entries())

    for dag_id in ("flights.ingest", f"{MODEL}.release"):
        world.airflow.clear(dag_id, newest_run(world, dag_id))

    assert published_table("flights", world.store).version() == commits
    assert len(Ledger(world.store, MODEL).entries()) == entries


def test_a_backfilled_training_of_a_past_day_leaves_the_champion_in_place(world: World) -> None:
    before = champion(world)
    past = FIRST_LIVE_DAY - timedelta(days=2)

    releases = {run["dag_run_id"] for run in world.airflow.runs(f"{MODEL}.release")}
    world.airflow.backfill(f"{MODEL}.train", past, past + timedelta(days=1))
    world.airflow.wait_for_run(f"{MODEL}.release", releases)

    assert champion(world) == before
    last = Ledger(world.store, MODEL).entries()[-1]
    assert last.event == "rejected"
    assert "not newer than the champion" in last.why
    assert last.as_of.date() <= past + timedelta(days=1)


SECOND_DATASET = """
description: Hourly weather at New York's airports, as rows to predict
partition: day
schedule: {start: 2013-01-01, end: 2013-12-30}
source: {type: files, path: "hours/{partition:%Y-%m-%d}.csv"}
columns:
  hour_id: string
  time_hour: timestamp
  origin: string
  temp: number
  humid: number
  pressure: number
  visib: number
  rain: {type: number, known_after: 1h}
key: [hour_id]
event_time: time_hour
expectations:
  - expect_column_values_to_not_be_null: {column: hour_id}
"""
SECOND_MODEL = """
description: Will it rain within the hour?
rows: hours
label: {column: rain, at_least: 0.01}
inputs: [origin, temp, humid, pressure, visib]
training: {stop: 5d, gate: 5d, max_trees: 50, parameters: {max_depth: 3}}
gates: [{metric: auc, at_least: 0.5}]
release: {approval: {people: 2}}
"""
HOUR = {"origin": "JFK", "temp": 40, "humid": 95, "pressure": 1000, "visib": 2}
SECOND_FEATURES = """
def features(rows):
    return dict(rows)
"""


def test_a_second_dataset_and_model_are_a_second_yaml_and_two_people_approve(
    world: World,
) -> None:
    from include.demo import feed

    before = champion(world)
    (world.landing / "hours").mkdir()
    first = FIRST_DAY + timedelta(days=10)  # the first rain of the year fell on January 11
    last = FIRST_DAY + timedelta(days=30)
    for number in range(21):
        day = (first + timedelta(days=number)).isoformat()
        rows = feed.weather()[day].rename(columns={"precip": "rain"})
        rows.insert(0, "hour_id", rows["origin"] + rows["time_hour"])
        rows.to_csv(world.landing / "hours" / f"{day}.csv", index=False)
    (world.specs / "models" / "rain.py").write_text(SECOND_FEATURES)
    (world.specs / "datasets" / "hours.yaml").write_text(SECOND_DATASET)
    (world.specs / "models" / "rain.yaml").write_text(SECOND_MODEL)
    dags = {"hours.ingest", "rain.train", "rain.release", "rain.monitor"}
    world.airflow.wait_for_dags(dags)
    for dag_id in dags - {"rain.train"}:
        world.airflow.unpause(dag_id)

    assert world.airflow.backfill("hours.ingest", first, last) == 21
    world.airflow.unpause("rain.train")
    world.airflow.wait_for_run("rain.train", set())
    shown = world.airflow.answer("rain.release", "approve", "Approve")
    assert "Release version 1 of rain?" in shown
    assert "| auc |" in shown
    world.colleague().answer("rain.release", "approve_too", "Approve")
    world.airflow.wait_for_run("rain.release", set())
    (approved,) = [entry for entry in Ledger(world.store, "rain").entries() if entry.event == "approved"]
    assert approved.why == f"approved by {world.stack.user} and {COLLEAGUE}"

    reply = httpx.post(
        f"{world.stack.server_url}/models/rain/invocations",
        json={
            "dataframe_records": [{"origin": "JFK", "temp": 40, "humid": 95, "pressure": 1000, "visib": 2}]
        },
    )
    assert 0 < reply.json()["predictions"][0] < 1
    assert champion(world) == before, "the first model is as it was"


def test_a_broken_yaml_is_an_import_error_and_leaves_all_others_working(world: World) -> None:
    path = world.specs / "models" / "rain.yaml"
    path.write_text(SECOND_MODEL.replace("inputs:", "input:"))
    shown = world.airflow.wait_for_import_error(patience=90)

    assert "rain.yaml" in shown
    assert "did you mean 'inputs'?" in shown
    run = world.airflow.trigger("flights.ingest", {"partition": FIRST_DAY.isoformat()})
    assert run["state"] == "success"


def test_the_store_is_the_one_the_setting_names(world: World) -> None:
    wanted = "s3://" if os.environ.get("AWS_ENDPOINT_URL") else str(world.stack.settings.home)
    assert world.store.uri.startswith(wanted)
    assert date.fromisoformat(max(published_table("flights", world.store).partitions())) >= FIRST_LIVE_DAY


def test_one_form_gives_users_the_version_before_again_and_all_agree_on_it(world: World) -> None:
    rolled_back, asked = champion(world), time.monotonic()
    run = world.airflow.trigger("perennial.rollback", {"model": MODEL, "reason": "too many false alarms"})
    print(f"rolled back in {time.monotonic() - asked:.1f} s")
    assert run["state"] == "success"
    assert champion(world) != rolled_back
    entry = Ledger(world.store, MODEL).entries()[-1]
    assert (entry.event, entry.why) == ("rolled_back", "too many false alarms")
    assert entry.data == {"version": rolled_back, "to": champion(world)}
    assert httpx.get(f"{world.stack.server_url}/v2/models/{MODEL}").json()["versions"] == [champion(world)]
    mlflow.set_tracking_uri(world.stack.mlflow_url)
    alias = mlflow.MlflowClient().get_model_version_by_alias(MODEL, "champion")
    assert str(alias.version) == champion(world)
