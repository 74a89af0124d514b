import json
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from include.lifecycle.model.predictor import Predictor
from include.lifecycle.monitor.governor import Decision
from include.lifecycle.monitor.windows import Window
from include.lifecycle.steps import measure
from include.lifecycle.steps.running import run_step
from include.lifecycle.steps.watching import govern, plan_window
from include.lifecycle.store.receipts import Call, Receipt
from tests.lifecycle import tiny
from tests.lifecycle.monitor.test_performance import log_predictions
from tests.lifecycle.steps.test_evaluate import served_inputs
from tests.lifecycle.tiny import ACTOR, MODEL, Project, midnight


@pytest.fixture
def champion(world: Project) -> Receipt:
    """The champion, trained as of the 19th."""
    trained = tiny.train_as_of(world, midnight(19))
    tiny.crown(world, trained, "1")
    return trained


def serve(world: Project, trained: Receipt, days: range, **changes: Any) -> int:
    """Log the champion's answers about some days' trips; returns how many."""
    folder = world.root / "served"
    folder.mkdir()
    for name in ("booster.ubj", "features.py", "predictor.json", "predictor.py"):
        world.store.fetch(trained.outputs[name], folder / name)
    predictor = Predictor(folder)
    rows = [{**row, **changes} for day in days for row in served_inputs(day)]
    scores = predictor.predict({name: [row[name] for row in rows] for name in predictor.inputs})
    log_predictions(
        world,
        [
            {
                "request_id": row["trip_id"],
                "key": row["trip_id"],
                "event_time": row["at"].to_pydatetime(),
                "version_as_of": trained.call.as_of,
                "score": float(score),
                "inputs": pd.Series({name: row[name] for name in predictor.inputs}).to_json(
                    date_format="iso"
                ),
            }
            for row, score in zip(rows, scores, strict=True)
        ],
    )
    return len(rows)


def _measure(world: Project, slot: datetime) -> Window:
    call = plan_window(world.catalog, MODEL, world.store, slot=slot)
    assert call is not None
    receipt, _ = run_step(call, world.store)
    return Window.model_validate(receipt.results["window"])


def test_a_window_is_measured_on_what_was_served_and_on_labels_that_matured_in_it(
    world: Project, champion: Receipt
) -> None:
    serve(world, champion, range(19, 25))
    window = _measure(world, midnight(24))
    assert (window.start, window.end) == (midnight(21), midnight(24))
    trips = pd.concat([tiny.trips(day) for day in range(19, 25)])
    assert window.rows == ((trips["at"] >= midnight(21)) & (trips["at"] < midnight(24))).sum()
    assert window.labelled == ((trips["at"] > midnight(20)) & (trips["at"] <= midnight(23))).sum()
    assert window.coverage > 0.95
    assert window.drift.keys() == {"city", "distance", "stops", "express", "hour", "rain"}
    assert window.skill is not None
    assert window.skill > 0.2
    known = sum(len(tiny.trips(day)) for day in range(1, 23))
    assert window.growth == pytest.approx(known / champion.counts["rows"] - 1, abs=0.01)


def test_a_moved_input_shows_as_drift_of_its_feature(world: Project, champion: Receipt) -> None:
    serve(world, champion, range(21, 25), distance=5000.0)
    window = _measure(world, midnight(24))
    assert max(window.drift, key=lambda name: window.drift[name]) == "distance"
    assert window.drift["distance"] > 1


def test_without_predictions_a_window_is_empty_and_has_no_report(world: Project, champion: Receipt) -> None:
    call = plan_window(world.catalog, MODEL, world.store, slot=midnight(24))
    assert call is not None
    receipt, _ = run_step(call, world.store)
    assert Window.model_validate(receipt.results["window"]).rows == 0
    assert "report" not in receipt.outputs


def test_a_window_whose_labels_are_all_equal_is_still_measured(world: Project, champion: Receipt) -> None:
    for day in range(19, 25):
        tiny.put(world, "trips", f"{midnight(day):%Y-%m-%d}", tiny.trips(day).assign(delay=0.0))
    serve(world, champion, range(19, 25))
    window = _measure(world, midnight(24))
    assert window.labelled > 0
    assert window.skill is None
    assert "auc" not in window.metrics


def test_a_version_is_judged_on_labels_only_once_it_answered_for_the_whole_window(world: Project) -> None:
    young = tiny.train_as_of(world, midnight(22))
    tiny.crown(world, young, "1")
    serve(world, young, range(22, 25))
    window = _measure(world, midnight(24))
    assert window.rows > 0
    assert window.labelled == 0


@pytest.mark.parametrize(("slot", "end"), [(midnight(24), midnight(24)), (midnight(200), midnight(25))])
def test_a_window_ends_with_the_slot_or_where_the_data_end(
    world: Project, champion: Receipt, slot: datetime, end: datetime
) -> None:
    call = plan_window(world.catalog, MODEL, world.store, slot=slot)
    assert call is not None
    assert call.as_of == end


def test_there_is_nothing_to_watch_before_the_champion_or_the_data(
    world: Project, project: Project, champion: Receipt
) -> None:
    assert plan_window(project.catalog, MODEL, project.store, slot=midnight(24)) is None
    assert plan_window(world.catalog, MODEL, world.store, slot=midnight(19)) is None
    assert plan_window(world.catalog, MODEL, world.store, slot=midnight(20)) is not None


def test_what_is_measured_does_not_depend_on_gates_or_governor(world: Project, champion: Receipt) -> None:
    before = plan_window(world.catalog, MODEL, world.store, slot=midnight(24))
    world.edit("models/late.yaml", "cooldown: 3d", "cooldown: 4d")
    assert plan_window(world.catalog, MODEL, world.store, slot=midnight(24)) == before


def measured_window(day: int, *, bad: bool = True) -> Receipt:
    """A receipt of a window that ends on a day; a bad one drifted."""
    end = midnight(day)
    window = Window(
        start=end - timedelta(days=3),
        end=end,
        version="1",
        rows=500,
        coverage=1.0,
        growth=1.0,
        drift={"rain": 5.0 if bad else 0.0},
    )
    call = Call(step="measure", spec={}, as_of=end, code=f"{day}{bad}")
    return Receipt(call=call, results={"window": json.loads(window.model_dump_json())}, started=end)


def _govern(project: Project, day: int, *, bad: bool = True) -> Decision:
    model = project.catalog.model(MODEL)
    decision, _ = govern(model, measured_window(day, bad=bad), project.store, ACTOR)
    return decision


def _events(project: Project) -> list[str]:
    return [entry.event for entry in project.ledger.entries()]


def test_bad_windows_lead_to_a_wish_to_retrain_with_the_reason(project: Project) -> None:
    assert not _govern(project, 10).retrain
    decision = _govern(project, 11)
    assert decision.retrain
    assert _events(project) == ["window", "window", "retrain"]
    assert project.state().retrain == decision.why
    assert "drift in rain" in decision.why


def test_a_rerun_finds_its_window_there_and_decides_the_same(project: Project) -> None:
    _govern(project, 10)
    first = _govern(project, 11)
    entries = project.ledger.entries()
    assert _govern(project, 11) == first
    assert project.ledger.entries() == entries


def test_a_backfilled_window_of_the_past_is_recorded_and_never_acts(project: Project) -> None:
    _govern(project, 10)
    _govern(project, 12, bad=False)
    decision = _govern(project, 11)
    assert not decision.retrain
    assert "only recorded" in decision.why
    assert _events(project) == ["window"] * 3
    assert [window.end.day for window in project.state().windows] == [10, 11, 12]


def test_a_corrected_window_replaces_its_first_verdict(project: Project) -> None:
    _govern(project, 10)
    _govern(project, 10, bad=False)
    assert [window.bad for window in project.state().windows] == [False]


def test_the_step_measures_what_the_call_names_and_nothing_newer(world: Project, champion: Receipt) -> None:
    serve(world, champion, range(21, 25))
    state = world.state().champion
    assert state is not None
    call = measure.plan(world.catalog.model(MODEL), state, midnight(24), world.store)
    log_predictions(world, [{"request_id": "late", "key": "late", "event_time": midnight(23)}], number=2)
    receipt, _ = run_step(call, world.store)
    served = pd.concat([tiny.trips(day) for day in range(21, 25)])
    expected = ((served["at"] >= midnight(21)) & (served["at"] < midnight(24))).sum()
    assert receipt.results["window"]["rows"] == expected
    again = measure.plan(world.catalog.model(MODEL), state, midnight(24), world.store)
    assert again.run_key != call.run_key
