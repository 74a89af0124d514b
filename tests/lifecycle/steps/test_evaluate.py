import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from include.lifecycle.data.point_in_time import EVENT_TIME, KEY
from include.lifecycle.model.evaluation import Evaluation
from include.lifecycle.steps import evaluate
from include.lifecycle.steps.running import run_step
from include.lifecycle.store.receipts import Receipt
from tests.lifecycle import tiny
from tests.lifecycle.monitor.test_performance import log_predictions
from tests.lifecycle.tiny import Project, midnight


@pytest.fixture
def champion(world: Project) -> Receipt:
    """Trained as of the 20th: it has seen labels of events up to the 19th."""
    return tiny.train_as_of(world, midnight(20))


def _gate(world: Project, trained: Receipt) -> pd.DataFrame:
    return pd.read_parquet(world.store.fetch(trained.outputs["gate"], world.root / "gate.parquet"))


def _evaluated(world: Project, trained: Receipt, champion: Receipt | None) -> Evaluation:
    proposal = tiny.proposal_of(champion, "1") if champion else None
    receipt, _ = run_step(evaluate.plan(trained, proposal, world.store), world.store)
    return Evaluation.model_validate(receipt.results["evaluation"])


def _log(
    world: Project, rows: pd.DataFrame, version_as_of: int, score: float = 0.5, arm: str = "champion"
) -> None:
    log_predictions(
        world,
        [
            {
                "request_id": row[KEY],
                "key": row[KEY],
                "event_time": row[EVENT_TIME].to_pydatetime(),
                "version_as_of": midnight(version_as_of),
                "score": score,
                "arm": arm,
            }
            for _, row in rows.iterrows()
        ],
    )


def test_without_a_champion_the_candidate_is_measured_alone(world: Project, trained: Receipt) -> None:
    found = _evaluated(world, trained, None)
    assert found.rows == trained.counts["gate_rows"]
    assert found.candidate["auc"].value > 0.8
    assert found.compared_with is None


def test_the_champion_is_scored_anew_only_on_rows_that_it_never_saw(
    world: Project, trained: Receipt, champion: Receipt
) -> None:
    gate = _gate(world, trained)
    unseen = gate[EVENT_TIME] > midnight(19)
    assert 0 < unseen.sum() < len(gate)
    found = _evaluated(world, trained, champion)
    assert found.compared_with == "1"
    assert found.compared_rows == unseen.sum()


def test_rows_that_the_champion_learned_from_count_by_what_was_logged_when_they_were_served(
    world: Project, trained: Receipt, champion: Receipt
) -> None:
    gate = _gate(world, trained)
    _log(world, gate, version_as_of=10)
    assert _evaluated(world, trained, champion).compared_rows == len(gate)


def test_logged_predictions_of_a_version_that_could_have_seen_the_label_do_not_count(
    world: Project, trained: Receipt, champion: Receipt
) -> None:
    gate = _gate(world, trained)
    _log(world, gate, version_as_of=21)
    assert _evaluated(world, trained, champion).compared_rows == (gate[EVENT_TIME] > midnight(19)).sum()


def test_what_a_canary_answered_does_not_count_as_the_champions(
    world: Project, trained: Receipt, champion: Receipt
) -> None:
    gate = _gate(world, trained)
    _log(world, gate, version_as_of=10, arm="canary")
    assert _evaluated(world, trained, champion).compared_rows == (gate[EVENT_TIME] > midnight(19)).sum()


def test_scores_made_now_are_those_of_the_champions_own_package(
    world: Project, trained: Receipt, champion: Receipt
) -> None:
    gate = _gate(world, trained)
    _log(world, gate, version_as_of=10, score=0.125)
    call = evaluate.plan(trained, tiny.proposal_of(champion, "1"), world.store)
    folder = world.root / "work"
    folder.mkdir()
    scores = evaluate._champion_scores(evaluate.Work(call, world.store, folder), trained, gate)
    seen = (gate[EVENT_TIME] <= midnight(19)).to_numpy()
    assert set(scores[seen]) == {0.125}
    predictor = evaluate.load_package(champion, evaluate.Work(call, world.store, folder))
    rows = {row["trip_id"]: row for day in range(17, 22) for row in served_inputs(day)}
    asked = [rows[key] for key in gate[KEY][~seen]]
    expected = predictor.predict({name: [row[name] for row in asked] for name in predictor.inputs})
    np.testing.assert_allclose(scores[~seen], expected, atol=1e-6)


def served_inputs(day: int) -> list[dict[str, object]]:
    """A day's trips with the rain one hour before, joined by pandas."""
    trips = tiny.trips(day)
    sky = pd.concat([tiny.sky(day - 1), tiny.sky(day)]).assign(
        known=lambda rows: rows["at"] + timedelta(hours=1)
    )
    joined = pd.merge_asof(
        trips.sort_values("at"),
        sky.drop(columns="at").sort_values("known"),
        left_on="at",
        right_on="known",
        by="city",
        tolerance=pd.Timedelta(hours=3),
    )
    return joined.to_dict("records")


def test_where_the_champion_saw_all_and_nothing_was_logged_the_reason_is_kept(
    world: Project, trained: Receipt
) -> None:
    later = tiny.train_as_of(world, midnight(23))
    champion = tiny.proposal_of(trained, "1").model_copy(
        update={"run_key": later.run_key, "as_of": midnight(21)}
    )
    receipt, _ = run_step(evaluate.plan(trained, champion, world.store), world.store)
    found = Evaluation.model_validate(receipt.results["evaluation"])
    assert found.compared_rows == 0
    assert "version 1 predicted 0 of these rows" in (found.why_not_compared or "")


def test_a_backfilled_training_is_measured_alone_since_it_cannot_take_the_champions_place(
    world: Project, trained: Receipt, champion: Receipt
) -> None:
    assert _evaluated(world, champion, trained).compared_with is None


def test_a_champion_with_other_inputs_is_still_compared(world: Project, champion: Receipt) -> None:
    """A person drops an input from the spec: the champion still gets all of its own."""
    world.edit(
        "models/late.yaml", "inputs: [city, distance,", "inputs: [city, express, stops, at, distance]\n#"
    )
    world.edit("models/late.yaml", "joins:\n  - {dataset: sky, by: [city], lag: 1h, tolerance: 3h}\n", "")
    world.edit("models/late.py", '        "rain": rows["rain"],\n', "")
    candidate = tiny.train_as_of(world, midnight(22))
    assert json.loads(world.store.read(candidate.outputs["predictor.json"]))["inputs"].keys() == {
        "city",
        "express",
        "stops",
        "at",
        "distance",
    }
    assert _evaluated(world, candidate, champion).compared_rows > 0
