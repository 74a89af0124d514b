from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OrdinalEncoder
from xgboost import XGBClassifier

from include.lifecycle.data.point_in_time import EVENT_TIME, KEY, LABEL, pin_versions, read_rows
from include.lifecycle.errors import Rejected
from include.lifecycle.model.features import compute_features, input_types, load_feature_code
from include.lifecycle.model.training import Spans, Trained, train
from include.lifecycle.model.training_set import InMemory
from include.lifecycle.spec.catalog import Catalog
from include.lifecycle.spec.model import Training
from include.lifecycle.steps.train import datasets_of
from tests.lifecycle import tiny
from tests.lifecycle.tiny import MODEL, Project, midnight

END = midnight(21)
SHIPPED = Path(__file__).resolve().parents[3] / "include"


@pytest.fixture
def table(world: Project) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows known on the 22nd day, and their features."""
    model = world.catalog.model(MODEL)
    datasets = datasets_of(model, world.catalog)
    rows = read_rows(
        model, datasets, pin_versions(model, world.store), world.store, as_of=END + timedelta(days=1)
    )
    return rows, compute_features(load_feature_code(tiny.FEATURES), rows, input_types(model, datasets))


@pytest.fixture
def training(world: Project) -> Training:
    return world.catalog.model(MODEL).training


def learn(training: Training, rows: pd.DataFrame, features: pd.DataFrame) -> Trained:
    return train(training, InMemory(rows, features), END)


durations = st.integers(1, 10**6).map(lambda number: timedelta(seconds=number))


@given(durations, durations)
def test_spans_are_disjoint_and_later_and_later(stop: timedelta, gate: timedelta) -> None:
    spans = Spans.before(END, Training(stop=stop, gate=gate))
    assert spans.stop_from < spans.gate_from < END
    assert spans.gate_from - spans.stop_from == stop
    assert END - spans.gate_from == gate


def test_the_gate_is_the_newest_span_and_nothing_else(
    training: Training, table: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    rows, features = table
    gate = learn(training, rows, features).gate
    newest = rows[rows[EVENT_TIME] >= END - training.gate]
    pd.testing.assert_frame_equal(
        gate[[KEY, EVENT_TIME, LABEL]], newest[[KEY, EVENT_TIME, LABEL]].reset_index(drop=True)
    )


def test_gate_scores_come_from_a_fit_that_never_saw_the_gate(
    training: Training, table: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    """Flipped gate labels change no gate score, but they change the version itself."""
    rows, features = table
    honest = learn(training, rows, features)
    in_gate = rows[EVENT_TIME] >= END - training.gate
    flipped = learn(training, rows.assign(_label=rows[LABEL].where(~in_gate, 1 - rows[LABEL])), features)
    assert flipped.trees == honest.trees
    np.testing.assert_array_equal(flipped.gate["score"], honest.gate["score"])
    assert (flipped.gate[LABEL] == 1 - honest.gate[LABEL]).all()
    final = [trained.fitted.predict(features) for trained in (honest, flipped)]
    assert np.abs(final[0] - final[1]).max() > 0.05


def test_the_number_of_trees_is_chosen_before_the_gate_and_after_the_fit(
    training: Training, table: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    """Labels of the stop span that make no sense stop the learning early."""
    rows, features = table
    spans = Spans.before(END, training)
    in_stop = (rows[EVENT_TIME] >= spans.stop_from) & (rows[EVENT_TIME] < spans.gate_from)
    senseless = rows.assign(_label=rows[LABEL].where(~in_stop, 1 - rows[LABEL]))
    assert learn(training, senseless, features).trees == training.min_trees
    assert learn(training, rows, features).trees > training.min_trees


def test_the_same_training_gives_the_same_trees(
    training: Training, table: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    rows, features = table
    first, second = (learn(training, rows, features) for _ in range(2))
    assert first.fitted.classifier.save_raw("ubj") == second.fitted.classifier.save_raw("ubj")


def test_a_training_of_one_segment_is_what_xgboost_itself_fits(
    training: Training, table: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    """With the shipped model's own parameters: its published figures rest on it."""
    shipped = Catalog(SHIPPED).model("flight_delay").training
    assert shipped.max_trees <= shipped.segment
    learned = ("max_trees", "min_trees", "patience", "parameters", "seed", "segment")
    training = training.model_copy(update={name: getattr(shipped, name) for name in learned})
    rows, features = table
    label, spans = rows[LABEL], Spans.before(END, training)
    fit, gate = rows[EVENT_TIME] < spans.stop_from, rows[EVENT_TIME] >= spans.gate_from

    def plain(count: int, **others: int) -> tuple[ColumnTransformer, XGBClassifier]:
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
        encoder = ColumnTransformer([("categories", codes, ["city"])], remainder="passthrough")
        kinds = ["c"] + ["q"] * (features.shape[1] - 1)
        settings = {"random_state": training.seed, **training.parameters, **others}
        return encoder, XGBClassifier(
            n_estimators=count,
            tree_method="hist",
            feature_types=kinds,
            enable_categorical=True,
            n_jobs=1,
            **settings,
        )

    encoder, chosen = plain(training.max_trees, early_stopping_rounds=training.patience)
    encoded = encoder.fit_transform(features[fit])
    later = encoder.transform(features[~fit & ~gate]), label[~fit & ~gate]
    chosen.fit(encoded, label[fit], eval_set=[later], verbose=False)
    trees = max(chosen.best_iteration + 1, training.min_trees)
    encoder, unseen = plain(trees)
    unseen.fit(encoder.fit_transform(features[~gate]), label[~gate])
    score = unseen.predict_proba(encoder.transform(features[gate]))[:, 1]
    encoder, final = plain(trees)
    final.fit(encoder.fit_transform(features), label)

    trained = learn(training, rows, features)
    assert trained.trees == trees > training.min_trees
    np.testing.assert_array_equal(trained.gate["score"], score.astype(float))
    trained.fitted.classifier.save_model(tmp_path / "ours.ubj")
    final.get_booster().save_model(tmp_path / "plain.ubj")
    assert (tmp_path / "ours.ubj").read_bytes() == (tmp_path / "plain.ubj").read_bytes()


def test_the_version_is_learned_from_the_gate_too(
    training: Training, table: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    rows, features = table
    trained = learn(training, rows, features)
    in_gate = (rows[EVENT_TIME] >= END - training.gate).to_numpy()
    final = trained.fitted.predict(features)
    assert not np.array_equal(final[in_gate], trained.gate["score"].to_numpy())


@pytest.mark.parametrize(("span", "days"), [("gate", (18, 99)), ("stop", (14, 18)), ("fit", (0, 14))])
def test_a_span_without_rows_is_rejected_by_name(
    training: Training, table: tuple[pd.DataFrame, pd.DataFrame], span: str, days: tuple[int, int]
) -> None:
    rows, features = table
    gone = (rows[EVENT_TIME] >= midnight(days[0])) & (rows[EVENT_TIME] < midnight(days[1]))
    with pytest.raises(Rejected, match=f"the {span} span has no rows"):
        learn(training, rows[~gone], features[~gone])


def test_labels_that_are_all_equal_are_rejected(
    training: Training, table: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    rows, features = table
    with pytest.raises(Rejected, match="every label of the fit span is 1"):
        learn(training, rows.assign(_label=1.0), features)


@pytest.mark.parametrize("name", ["n_estimators", "early_stopping_rounds", "missing"])
def test_a_parameter_that_training_itself_has_is_refused(
    training: Training, table: tuple[pd.DataFrame, pd.DataFrame], name: str
) -> None:
    training = training.model_copy(update={"parameters": {name: 3}})
    with pytest.raises(Rejected, match=f"training.parameters: {name} cannot be set here"):
        learn(training, *table)
