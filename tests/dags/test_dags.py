"""All DAGs of the project, and of a project with a broken spec, as Airflow's DAG processor sees them."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pendulum
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, AssetAny
from airflow.sdk.definitions.param import Param
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable as IntervalTimetable
from mlops.timetable import SpanTimetable

from include.lifecycle.data.partitions import calendar_of
from include.lifecycle.spec.catalog import Catalog
from tests.lifecycle import tiny

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "pandas",
    "xgboost",
    "sklearn",
    "mlflow",
    "great_expectations",
    "evidently",
    "duckdb",
    "deltalake",
    "optuna",
)
PARSE = f"""
import runpy, sys
for name in ("datasets", "models", "scoring", "rollback", "tables", "cleaning", "deploy", "broken_specs"):
    runpy.run_path(f"dags/{{name}}.py", run_name=name)
print([name for name in {HEAVY} if name in sys.modules])
"""
CATALOG = Catalog(ROOT / "include")
MODEL_VERBS = ("train", "release", "monitor", "reproduce", "score")
DAG_IDS = {
    "tables.maintain",
    "perennial.clean",
    "perennial.deploy",
    "perennial.rollback",
    *(f"{name}.{verb}" for name in CATALOG.dataset_names() for verb in ("ingest", "requeue")),
    *(f"{name}.{verb}" for name in CATALOG.model_names() for verb in MODEL_VERBS),
    *(f"{name}.search" for name in CATALOG.model_names() if CATALOG.model(name).search),
}


@pytest.fixture(scope="module")
def bag() -> Iterator[DagBag]:
    """The project's own DAGs."""
    with pytest.MonkeyPatch.context() as env:
        env.delenv("PERENNIAL_SPECS", raising=False)
        yield DagBag(ROOT / "dags")


def _parse(folder: Path, env: pytest.MonkeyPatch) -> DagBag:
    env.setenv("PERENNIAL_SPECS", str(folder))
    return DagBag(ROOT / "dags")


def test_every_spec_has_its_dags_and_nothing_is_broken(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == DAG_IDS


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_every_dag_says_what_it_does_to_whom_it_belongs_and_how_it_is_found(bag: DagBag, dag_id: str) -> None:
    dag: DAG = bag.dags[dag_id]
    assert dag.doc_md
    assert dag.description
    assert dag_id.split(".")[1] in dag.tags
    for task in dag.tasks:
        assert task.doc_md, task.task_id
        assert task.owner not in ("", "airflow"), task.task_id
        assert task.retries >= 1, task.task_id


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS - {"perennial.rollback"}))
def test_every_field_of_a_trigger_form_has_type_title_and_description_and_may_stay_empty(
    bag: DagBag, dag_id: str
) -> None:
    params = bag.dags[dag_id].params
    for name in params:
        param = params.get_param(name)
        assert isinstance(param, Param)
        assert "null" in param.schema["type"]
        assert param.schema["title"]
        assert param.description
        assert param.resolve() is None


def test_a_rollback_is_of_no_model_that_nobody_chose_and_for_no_reason_that_nobody_gave(bag: DagBag) -> None:
    params = bag.dags["perennial.rollback"].params
    assert params.get_param("model").schema["enum"] == CATALOG.model_names()
    assert params.get_param("version").resolve() is None
    for field, wrong in {"model": "unknown", "reason": ""}.items():
        for value in ({}, {"value": wrong}):
            with pytest.raises(ParamValidationError):
                params.get_param(field).resolve(**value)
    assert params.get_param("reason").resolve("worse than before") == "worse than before"


def test_a_rollback_waits_for_no_other_and_need_not_be_switched_on(bag: DagBag) -> None:
    rollback = bag.dags["perennial.rollback"]
    assert rollback.max_active_runs > 1
    assert rollback.is_paused_upon_creation is False


def test_what_writes_in_order_runs_one_at_a_time(bag: DagBag) -> None:
    for dag_id in DAG_IDS - {"perennial.rollback"}:
        if not dag_id.endswith(".ingest"):
            assert bag.dags[dag_id].max_active_runs == 1


def test_ingest_monitoring_and_scoring_have_a_data_interval_to_backfill(bag: DagBag) -> None:
    for dag_id in DAG_IDS:
        if dag_id.endswith((".ingest", ".monitor", ".score")):
            assert isinstance(bag.dags[dag_id].timetable, SpanTimetable)


@pytest.mark.parametrize("verb", ["train", "reproduce"])
def test_trainings_share_a_pool_of_one(bag: DagBag, verb: str) -> None:
    assert {bag.dags[f"{name}.{verb}"].get_task(verb).pool for name in CATALOG.model_names()} == {"training"}


def test_what_trained_on_a_gpu_is_reproduced_on_one_when_somebody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tiny.make_project(tmp_path, monkeypatch)
    project.edit("models/late.yaml", "training:", "compute: {train: {gpu: 1, memory: 16Gi}}\ntraining:")
    dag = _parse(project.specs, monkeypatch).dags["late.reproduce"]
    assert dag.schedule is None
    assert (dag.get_task("reproduce").pool, dag.get_task("reproduce").compute.gpu) == ("gpu", 1)


def test_nobody_need_switch_the_cleaning_on(bag: DagBag) -> None:
    assert bag.dags["perennial.clean"].is_paused_upon_creation is False
    assert _scheduled(bag.dags["perennial.clean"]).next_dagrun_info(last_automated_run_info=None)


def test_assets_tie_training_release_and_monitoring_together(bag: DagBag) -> None:
    for name in CATALOG.model_names():
        train, release, monitor = (bag.dags[f"{name}.{verb}"] for verb in ("train", "release", "monitor"))
        candidate, drift = f"perennial://model/{name}/candidate", f"perennial://model/{name}/drift"
        assert [outlet.uri for outlet in train.get_task("register").outlets] == [candidate]
        assert [outlet.uri for outlet in monitor.get_task("govern").outlets] == [drift]
        assert candidate in repr(release.timetable.asset_condition)
        assert drift in repr(train.timetable.asset_condition)


@pytest.mark.parametrize(
    "broken", ["nonsense: 1", "a: [", "start: 2013-02-30", "governor: {cooldown: 99999999999d}", ""]
)
def test_a_broken_spec_is_an_import_error_that_names_it_and_all_other_dags_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    project = tiny.make_project(tmp_path, monkeypatch)
    (project.specs / "datasets/cracked.yaml").write_text(broken)
    (project.specs / "models/torn.yaml").write_text(broken)
    found = _parse(project.specs, monkeypatch)
    ((file, error),) = found.import_errors.items()
    assert Path(file).name == "broken_specs.py"
    assert f"{project.specs}/datasets/cracked.yaml: " in error
    assert f"{project.specs}/models/torn.yaml: " in error
    assert set(found.dags) == {
        "perennial.clean",
        "perennial.deploy",
        "perennial.rollback",
        "tables.maintain",
        *(f"{name}.{verb}" for name in ("trips", "sky") for verb in ("ingest", "requeue")),
        *(f"late.{verb}" for verb in MODEL_VERBS),
    }


def test_a_model_whose_dataset_is_broken_takes_only_itself_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tiny.make_project(tmp_path, monkeypatch)
    (project.specs / "datasets/sky.yaml").write_text("nonsense: 1")
    found = _parse(project.specs, monkeypatch)
    assert [Path(file).name for file in found.import_errors] == ["broken_specs.py"]
    assert set(found.dags) == {
        "perennial.clean",
        "perennial.deploy",
        "perennial.rollback",
        "tables.maintain",
        "trips.ingest",
        "trips.requeue",
    }


def test_days_of_a_time_zone_begin_at_its_midnight_also_when_clocks_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tiny.make_project(tmp_path, monkeypatch)
    project.edit("datasets/trips.yaml", "partition: day", "partition: day\ntimezone: Europe/Berlin")
    dag = _parse(project.specs, monkeypatch).dags["trips.ingest"]
    timetable = _scheduled(dag).timetable
    last = DataInterval(pendulum.datetime(2024, 3, 28, 23), pendulum.datetime(2024, 3, 29, 23))
    all_of_them = TimeRestriction(None, None, True)
    spec, starts = project.catalog.dataset("trips"), []
    for _ in range(3):
        run = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=all_of_them)
        assert run is not None
        last = run.data_interval
        starts.append((calendar_of(spec).holding(last.start).name, last.start.hour))
    assert starts == [("2024-03-30", 23), ("2024-03-31", 23), ("2024-04-01", 22)]


def test_only_a_dataset_about_people_has_a_dag_that_erases_and_its_form_must_be_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tiny.make_project(tmp_path, monkeypatch)
    policy = "privacy: {key: people, subject: city}"
    project.edit("datasets/trips.yaml", "key: [trip_id]", f"{policy}\nkey: [trip_id]")
    dags = _parse(project.specs, monkeypatch).dags
    assert {"trips.erase", "sky.erase"} & set(dags) == {"trips.erase"}
    dag = dags["trips.erase"]
    assert dag.schedule is None
    assert "city" in str(dag.params.get_param("secret_subject").description)
    assert "delete\nthe run" in str(dag.doc_md)
    for name, value in {"secret_subject": "", "reason": None}.items():
        with pytest.raises(ParamValidationError):
            dag.params.get_param(name).resolve(value)


def test_without_lookback_a_run_is_three_plain_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tiny.make_project(tmp_path, monkeypatch)
    dag = _parse(project.specs, monkeypatch).dags["trips.ingest"]
    assert dag.task_ids == ["extract", "validate", "publish"]
    assert not any(list(task.iter_mapped_dependants()) or task.map_index_template for task in dag.tasks)


def test_with_lookback_each_partition_goes_its_own_way_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tiny.make_project(tmp_path, monkeypatch)
    project.edit("datasets/trips.yaml", "partition: day", "partition: day\nlookback: 3")
    found = _parse(project.specs, monkeypatch)
    assert found.import_errors == {}
    dag = found.dags["trips.ingest"]
    assert dag.task_ids == ["partitions", "extract", "validate", "publish"]
    group = dag.get_task("publish").get_closest_mapped_task_group()
    assert {task.task_id for task in group.iter_tasks()} == {"extract", "validate", "publish"}
    for task in group.iter_tasks():
        assert "partition" in str(task.map_index_template)


def test_only_a_model_with_a_space_has_a_search_in_rounds_that_go_on_whatever_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tiny.make_project(tmp_path, monkeypatch)
    assert "late.search" not in _parse(project.specs, monkeypatch).dags
    project.add("models/late.yaml", tiny.SEARCH)
    found = _parse(project.specs, monkeypatch)
    assert found.import_errors == {}
    dag, train = found.dags["late.search"], found.dags["late.train"]
    rounds = [f"round_{number}.{task}" for number in range(3) for task in ("ask", "trial")]
    assert dag.task_ids == ["plan", *rounds, "finish"]
    assert dag.schedule is None
    for number in range(3):
        ask, trial = dag.get_task(f"round_{number}.ask"), dag.get_task(f"round_{number}.trial")
        before = f"round_{number - 1}.trial" if number else "plan"
        assert ask.upstream_task_ids == {"plan", before}
        assert ask.trigger_rule == "all_done_min_one_success"
        assert trial.is_mapped
        assert trial.upstream_task_ids == {ask.task_id}
    finish = dag.get_task("finish")
    assert finish.trigger_rule == "all_done"
    assert finish.upstream_task_ids == {"plan", "round_2.trial"}
    assert [outlet.uri for outlet in finish.outlets] == ["perennial://model/late/searched"]
    woken_by = train.timetable.asset_condition
    assert isinstance(woken_by, AssetAny)
    assert [asset.name for asset in woken_by.objects] == ["late.drift", "late.searched"]


def test_a_search_may_have_a_schedule_and_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tiny.make_project(tmp_path, monkeypatch)
    project.add("models/late.yaml", f'{tiny.SEARCH}  schedule: "0 3 1 * *"\ncompute: {{trial: {{gpu: 1}}}}\n')
    dag = _parse(project.specs, monkeypatch).dags["late.search"]
    assert _scheduled(dag).timetable.summary == "0 3 1 * *"
    assert dag.get_task("round_0.trial").pool == "gpu"


def test_scoring_has_the_partitions_intervals_and_is_never_due_unless_the_yaml_has_a_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tiny.make_project(tmp_path, monkeypatch)
    project.edit("datasets/trips.yaml", "start: 2024-01-01, end: 2024-12-31", "start: 2024-01-01")
    by_hand = _scheduled(_parse(project.specs, monkeypatch).dags["late.score"])
    assert by_hand.timetable.summary == "0 0 * * *"
    assert by_hand.next_dagrun_info(last_automated_run_info=None) is None
    project.add("models/late.yaml", 'scoring: {schedule: "30 5 * * 1"}\ncompute: {score: {memory: 8Gi}}\n')
    dag = _parse(project.specs, monkeypatch).dags["late.score"]
    assert _scheduled(dag).timetable.summary == "30 5 * * 1"
    assert _scheduled(dag).next_dagrun_info(last_automated_run_info=None) is not None
    assert dag.get_task("score").compute.memory == 8 << 30
    assert [outlet.uri for outlet in dag.get_task("score").outlets] == ["perennial://model/late/scores"]


def test_a_second_model_is_a_second_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tiny.make_project(tmp_path, monkeypatch)
    (project.specs / "models/early.yaml").write_text(tiny.LATE)
    (project.specs / "models/early.py").write_bytes(tiny.FEATURES)
    found = _parse(project.specs, monkeypatch)
    assert found.import_errors == {}
    assert {"early.train", "early.release", "early.monitor", "late.train"} <= set(found.dags)


def test_parsing_imports_no_library_for_data_or_learning(tmp_path: Path) -> None:
    env = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT}/plugins"}
    parsed = subprocess.run(
        [sys.executable, "-c", PARSE], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert parsed.stdout.splitlines()[-1] == "[]"


def test_dag_files_hold_no_thresholds_or_secrets() -> None:
    """Numbers of the lifecycle live in YAML: a DAG file knows only retries and run limits."""
    for file in (ROOT / "dags").glob("*.py"):
        numbers = {
            node.value
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant) and type(node.value) in (int, float)
        }
        assert numbers <= {1, 2, 4, 10}


SPANS = ["flights.ingest", "weather.ingest", "flight_delay.monitor", "flight_delay.score"]


@pytest.mark.parametrize("dag_id", SPANS)
def test_unpausing_a_dag_of_2013_today_starts_no_run(bag: DagBag, dag_id: str) -> None:
    dag = _scheduled(bag.dags[dag_id])
    assert dag.next_dagrun_info(last_automated_run_info=None) is None
    dag.timetable.end = None
    assert dag.next_dagrun_info(last_automated_run_info=None) is not None


def test_unpausing_a_training_starts_that_of_last_night(bag: DagBag) -> None:
    now = pendulum.now("UTC")
    for name in CATALOG.model_names():
        run = _scheduled(bag.dags[f"{name}.train"]).next_dagrun_info(last_automated_run_info=None)
        assert run is not None
        assert now.subtract(days=1) < run.run_after <= now


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS - {"tables.maintain"}))
def test_a_run_by_hand_of_any_date_has_all_its_tasks(bag: DagBag, dag_id: str) -> None:
    """Airflow makes no task whose own dates, or its DAG's, leave the run's date out."""
    dag = _scheduled(bag.dags[dag_id])
    for limited in (dag, *dag.tasks):
        assert (limited.start_date, limited.end_date) == (None, None)


@pytest.mark.parametrize("dag_id", SPANS)
@pytest.mark.parametrize(
    ("first", "last"),
    [
        (datetime(2013, 1, 1), datetime(2013, 3, 1)),
        (datetime(2012, 11, 15), datetime(2013, 1, 1)),
        (datetime(2013, 12, 1), datetime(2014, 3, 5)),
    ],
    ids=["within", "from before its start", "to after its end"],
)
def test_a_backfill_makes_a_run_for_each_interval_that_begins_between_its_dates(
    bag: DagBag, dag_id: str, first: datetime, last: datetime
) -> None:
    dag = _scheduled(bag.dags[dag_id])
    dates = pendulum.instance(first), pendulum.instance(last)
    unlimited = IntervalTimetable(dag.timetable.summary, "UTC")
    between, info = TimeRestriction(*dates, catchup=True), None
    expected = []
    while info := unlimited.next_dagrun_info_v2(last_dagrun_info=info, restriction=between):
        expected.append(info)
    assert expected
    assert list(dag.iter_dagrun_infos_between(*dates)) == expected


def _scheduled(dag: DAG) -> SerializedDAG:
    """The DAG as Airflow's scheduler reads it from its database."""
    return DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
