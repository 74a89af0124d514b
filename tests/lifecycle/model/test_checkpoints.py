from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from xgboost import Booster, QuantileDMatrix, XGBClassifier

from include.lifecycle.data.point_in_time import EVENT_TIME, KEY, LABEL
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.model.checkpoints import NoCheckpoints, fit_in_segments, seed_of
from include.lifecycle.model.packaging import write_package
from include.lifecycle.model.training import Trained, train
from include.lifecycle.model.training_set import InMemory
from include.lifecycle.spec.model import Training
from include.lifecycle.store.checkpoints import StoredCheckpoints
from include.lifecycle.store.objects import Store
from tests.lifecycle.tiny import midnight

END = midnight(21)
DRAWING = {
    "max_depth": 3,
    "learning_rate": 0.2,
    "eval_metric": "auc",
    "subsample": 0.5,
    "colsample_bynode": 0.5,
}
WHOLE = {"max_depth": 3, "learning_rate": 0.2, "eval_metric": "logloss"}


@dataclass
class Notebook:
    """Keeps every state, and stops the training after as many rounds as it is told."""

    rounds: int = 10**9
    states: dict[str, list[bytes]] = field(default_factory=dict)
    segments: list[tuple[str, int]] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)

    def load(self, fit: str) -> bytes | None:
        return self.states[fit][-1] if fit in self.states else None

    def save(self, fit: str, segment: int, state: bytes) -> None:
        self.states.setdefault(fit, []).append(state)
        self.segments.append((fit, segment))

    def after_round(self, fit: str, trees: int) -> None:
        self.asked[fit] += 1
        if self.asked.total() == self.rounds:
            raise Transient(f"stopped: will go on from tree {trees} of the {fit} fit")


def training_of(segment: int, parameters: dict[str, Any] = DRAWING, **others: Any) -> Training:
    return Training.model_validate(
        {"stop": "4d", "gate": "3d", "max_trees": 40, "min_trees": 12, "patience": 5, "seed": 3}
        | {"parameters": parameters, "segment": segment}
        | others
    )


def draw_table() -> tuple[pd.DataFrame, pd.DataFrame]:
    draw, count = np.random.default_rng(5), 700
    moments = pd.to_datetime(
        np.linspace(midnight(1).timestamp(), END.timestamp() - 1, count), unit="s", utc=True
    )
    features = pd.DataFrame(
        {
            "city": draw.choice(["BER", "MUC", "OSL"], count).astype(object),
            "distance": np.where(draw.random(count) < 0.1, np.nan, draw.uniform(1, 1000, count)),
            "stops": draw.integers(0, 4, count),
        }
    )
    late = features["distance"].fillna(0) / 40 + 3 * features["stops"] + draw.normal(0, 6, count) > 16
    rows = pd.DataFrame({KEY: np.arange(count).astype(str), EVENT_TIME: moments, LABEL: late.astype(float)})
    return rows, features


TABLE = InMemory(*draw_table())


def learn(training: Training, checkpoints: Any = None) -> Trained:
    return train(training, TABLE, END, checkpoints)


def bytes_of(trained: Trained, folder: Path) -> dict[str, bytes]:
    """The files of the version's package."""
    about: dict[str, Any] = {"inputs": {"city": "string"}, "key": "trip_id", "event_time": "at"}
    return {file.name: file.read_bytes() for file in write_package(folder, trained.fitted, b"", **about)}


def stop_again_and_again(training: Training, rounds: list[int]) -> tuple[Trained, list[Notebook]]:
    """Train, each time in new hands that have nothing but the states of those before."""
    hands, states = [], {}
    for count in [*rounds, 10**9]:
        hands.append(Notebook(count, {fit: list(kept) for fit, kept in states.items()}))
        try:
            return learn(training, hands[-1]), hands
        except Transient:
            states = hands[-1].states
    raise AssertionError


@settings(max_examples=15)
@given(
    segment=st.integers(1, 25),
    rounds=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    parameters=st.sampled_from([DRAWING, WHOLE]),
    seed=st.integers(0, 2**31 - 1),
)
@example(segment=4, rounds=[5], parameters=DRAWING, seed=3)  # inside the choice, after a segment
@example(segment=4, rounds=[45], parameters=DRAWING, seed=3)  # inside a later fit
def test_a_training_stopped_anywhere_ends_as_the_unbroken_one(
    tmp_path_factory: pytest.TempPathFactory,
    segment: int,
    rounds: list[int],
    parameters: dict[str, Any],
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("packages")
    training = training_of(segment, parameters, seed=seed)
    unbroken = learn(training)
    resumed, _ = stop_again_and_again(training, rounds)
    assert bytes_of(resumed, folder / "resumed") == bytes_of(unbroken, folder / "unbroken")
    assert resumed.trees == unbroken.trees
    pd.testing.assert_frame_equal(resumed.gate, unbroken.gate, check_exact=True)


def test_only_what_no_checkpoint_holds_is_grown_again() -> None:
    training, whole = training_of(4), Notebook()
    trees = learn(training, whole).trees
    assert trees > 2 * training.segment
    in_second_segment = whole.asked["choosing"] + whole.asked["gate"] + 6
    _, (stopped, resumed) = stop_again_and_again(training, [in_second_segment])
    assert stopped.asked == whole.asked | {"final": 6}
    assert resumed.asked == {"final": trees - 4}


def test_a_training_that_is_told_to_end_goes_on_from_what_the_store_has(store: Store, tmp_path: Path) -> None:
    """Nothing was written before it was told: the time had not passed."""
    training, whole, asks = training_of(4), Notebook(), iter(range(1, 1000))
    unbroken = learn(training, whole)
    in_second_segment = whole.asked["choosing"] + 6
    told = StoredCheckpoints("a" * 64, store, timedelta(hours=1), lambda: next(asks) == in_second_segment)
    with pytest.raises(Transient, match="will go on from tree 4 of the gate fit"):
        learn(training, told)
    assert {path.split("/")[-1].split("-")[0] for path in store.list("checkpoints")} == {"choosing", "gate"}
    resumed = learn(training, StoredCheckpoints("a" * 64, store, timedelta(hours=1)))
    assert bytes_of(resumed, tmp_path / "resumed") == bytes_of(unbroken, tmp_path / "unbroken")


def test_the_trees_are_in_nothing_different_after_a_stop() -> None:
    training = training_of(4)
    unbroken = learn(training)
    resumed = stop_again_and_again(training, [3, 30])[0]
    assert resumed.fitted.categories == unbroken.fitted.categories
    one, other = resumed.fitted.classifier, unbroken.fitted.classifier
    assert one.feature_types == other.feature_types == ["c", "q", "q"]
    assert one.feature_names == other.feature_names
    assert one.attributes() == other.attributes() == {}
    assert one.num_boosted_rounds() == other.num_boosted_rounds() == resumed.trees


def test_nothing_is_read_for_a_fit_that_is_finished() -> None:
    kept = Notebook()
    learn(training_of(4), kept)
    fit_in_segments("final", training_of(4), 1, {}, lambda _: pytest.fail("a matrix was built"), kept)


def choice_of(training: Training, rounds: list[int]) -> Booster:
    states = stop_again_and_again(training, rounds)[1][-1].states
    return Booster(model_file=bytearray(states["choosing"][-1]))


@pytest.mark.parametrize("parameters", [WHOLE, WHOLE | {"eval_metric": "auc"}])
@pytest.mark.parametrize("rounds", [[], [8], [4, 2, 3]])
def test_patience_does_not_begin_anew_with_a_segment(parameters: dict[str, Any], rounds: list[int]) -> None:
    """Nothing is drawn here, so that segments change nothing but where the counting might restart."""
    whole = choice_of(training_of(1000, parameters), [])
    short = choice_of(training_of(3, parameters), rounds)
    assert whole.num_boosted_rounds() == whole.best_iteration + 1 + 5 < 40
    assert short.num_boosted_rounds() == whole.num_boosted_rounds()
    assert short.best_iteration == whole.best_iteration
    assert short.best_score == pytest.approx(whole.best_score, abs=1e-6)


def test_a_later_segment_draws_otherwise_than_the_first() -> None:
    training = training_of(10)
    seeds = [seed_of(training, segment) for segment in range(100)]
    assert seeds[0] == training.seed
    assert len(set(seeds)) == 100
    assert seeds[1:] != [seed_of(training_of(10, seed=4), segment) for segment in range(1, 100)]
    short, whole = (learn(training_of(segment, max_trees=12)) for segment in (6, 12))
    trees = [trained.fitted.classifier for trained in (short, whole)]
    assert trees[0][:6].get_dump() == trees[1][:6].get_dump()
    assert trees[0][6:].get_dump() != trees[1][6:].get_dump()


def test_a_segment_is_what_xgboost_adds_to_the_one_before_with_the_segments_own_seed() -> None:
    training, kept = training_of(10, max_trees=25), Notebook()
    rows, features = draw_table()
    matrix, label = features[["distance", "stops"]].to_numpy(), rows[LABEL]
    settings = {"tree_method": "hist", "n_jobs": 1, **DRAWING}
    parameters = XGBClassifier(**settings).get_xgb_params()
    fit_in_segments("final", training, 25, parameters, lambda _: (QuantileDMatrix(matrix, label), None), kept)
    assert kept.segments == [("final", 0), ("final", 1), ("final", 2)]

    before: bytearray | None = None
    for segment, (trees, state) in enumerate(zip((10, 10, 5), kept.states["final"], strict=True)):
        grower = XGBClassifier(n_estimators=trees, random_state=seed_of(training, segment), **settings)
        before = grower.fit(matrix, label, xgb_model=before).get_booster().save_raw("ubj")
        assert state == before


def test_a_state_holds_no_text_of_a_category() -> None:
    kept = Notebook()
    learn(training_of(4), kept)
    states = [state for states in kept.states.values() for state in states]
    assert states
    assert not any(city in state for state in states for city in (b"BER", b"MUC", b"OSL", b"city"))


def test_an_unknown_parameter_is_refused_before_anything_is_kept() -> None:
    kept = Notebook()
    with pytest.raises(Rejected, match='does not know "max_dept"'):
        learn(training_of(4, {"max_dept": 3}), kept)
    assert kept.states == {}


def test_a_training_without_checkpoints_never_stops() -> None:
    nothing = NoCheckpoints()
    nothing.save("final", 0, b"")
    assert nothing.load("final") is None
    nothing.after_round("final", 1)
    assert learn(training_of(4), nothing).trees == learn(training_of(4)).trees


def test_the_end_of_each_segment_is_a_checkpoint() -> None:
    kept = Notebook()
    trees = learn(training_of(5), kept).trees
    rounds = [Booster(model_file=bytearray(state)).num_boosted_rounds() for state in kept.states["final"]]
    assert rounds == sorted({*range(5, trees, 5), trees})
