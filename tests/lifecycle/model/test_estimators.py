from pathlib import Path

import numpy as np
import pytest

from include.lifecycle.errors import Rejected, SpecError
from include.lifecycle.model.estimators import build_estimator, check_estimator, fit_estimator
from include.lifecycle.spec.model import ModelSpec, Training
from tests.lifecycle import tiny
from tests.lifecycle.model.test_packaging import Packaged
from tests.lifecycle.tiny import MODEL, Project

LINEAR = "sklearn.linear_model.LogisticRegression"
FOREST = "sklearn.ensemble.RandomForestClassifier"
BOOSTED = "sklearn.ensemble.HistGradientBoostingClassifier"


@pytest.fixture(params=[LINEAR, FOREST, BOOSTED])
def packaged(request: pytest.FixtureRequest, world: Project, tmp_path: Path) -> Packaged:
    few = {FOREST: {"n_estimators": 10}, BOOSTED: {"max_iter": 10}}
    training = Training(estimator=request.param, parameters=few.get(request.param, {}), seed=1)
    return Packaged(world, tmp_path / "package", tiny.FEATURES, training)


def test_the_package_answers_as_the_pipeline_does_whatever_is_unseen_or_missing(packaged: Packaged) -> None:
    """A sum of products may differ in its last bit by how many rows are summed at once."""
    rows = packaged.rows.head(20)
    packaged.agrees_on(rows, singly=1e-12)
    packaged.agrees_on(rows.assign(city="ZRH"), singly=1e-12)
    packaged.agrees_on(rows.assign(city=None, distance=np.nan, stops=np.nan, rain=np.nan), singly=1e-12)


@pytest.mark.parametrize(
    "features",
    [
        "'far': rows['distance'] > 500",
        "'far': rows['distance'] > 500, 'rain': rows['rain']",
        "'city': rows['city']",
    ],
)
def test_features_may_be_all_switches_all_numbers_or_all_texts(
    world: Project, tmp_path: Path, features: str
) -> None:
    code = f"def features(rows):\n    return {{{features}}}\n".encode()
    packaged = Packaged(world, tmp_path / "package", code, Training(estimator=LINEAR))
    packaged.agrees_on(packaged.rows.head(20), singly=1e-12)


def test_a_category_that_training_never_saw_counts_as_missing(packaged: Packaged) -> None:
    def answers(city: str | None) -> list[float]:
        rows = packaged.rows.head(20).assign(city=city)
        columns = {name: rows[name].tolist() for name in packaged.inputs}
        return packaged.predictor.predict(columns).tolist()

    assert answers("ZRH") == answers(None) != answers("BER")


@pytest.mark.parametrize(
    ("estimator", "prepared"),
    [(LINEAR, True), ("sklearn.naive_bayes.GaussianNB", True), (FOREST, False), (BOOSTED, False)],
)
def test_only_who_takes_no_missing_values_gets_them_filled(estimator: str, prepared: bool) -> None:
    """GaussianNB takes no sparse matrix either."""
    training = Training(estimator=estimator)
    classifier = build_estimator(training, categories=1, numbers=1)
    assert ("prepare" in getattr(classifier, "named_steps", {})) is prepared
    matrix = np.array([[0, 5.0], [1, np.nan], [np.nan, -5.0], [0, 4.0]] * 5)
    fitted = classifier.fit(matrix, np.array([0.0, 1.0, 1.0, 0.0] * 5))
    assert np.isfinite(fitted.predict_proba(matrix)).all()


def test_the_seed_is_the_estimators_random_state() -> None:
    assert build_estimator(Training(estimator=FOREST, seed=7), 0, 1).random_state == 7


def test_a_fit_uses_the_profiles_threads_and_the_version_has_none(
    world: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    class Forest(type(build_estimator(Training(estimator=FOREST), 0, 1))):  # type: ignore[misc]
        def fit(self, matrix: object, label: object) -> object:
            from joblib import effective_n_jobs

            threads.append(effective_n_jobs(self.n_jobs))
            return super().fit(matrix, label)

    packaged = Packaged(world, world.root / "package", tiny.FEATURES)
    features, label = packaged.features(packaged.rows), packaged.rows["_label"]
    matrix = features.drop(columns="city").astype(float).fillna(0).to_numpy()
    fitted = []
    for told in ("1", "3"):
        monkeypatch.setenv("PERENNIAL_THREADS", told)
        training = Training(estimator=FOREST)
        fitted.append(fit_estimator(Forest(5, random_state=1), training, matrix, label))
    assert threads == [1, 3]
    assert fitted[0].n_jobs is None
    one, three = (forest.predict_proba(matrix) for forest in fitted)
    np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize(
    ("estimator", "parameters", "said"),
    [
        ("sklearn.ensemble.RandomForrestClassifier", "{}", f"unknown .*; did you mean '{FOREST}'"),
        ("sklearn.ensemble._forest.RandomForestClassifier", "{}", f"did you mean '{FOREST}'"),
        ("sklearn.linear_model.LinearRegression", "{}", "estimator: unknown"),
        ("sklearn.ensemble.VotingClassifier", "{}", "estimator: unknown"),
        (FOREST, "{n_estimator: 3}", "parameters: unknown 'n_estimator' .*did you mean 'n_estimators'"),
        (FOREST, "{n_jobs: 3}", "parameters.n_jobs: compute.train.cpu sets it"),
        (FOREST, "{random_state: 3}", "parameters.random_state: training.seed sets it"),
        ("sklearn.linear_model.SGDClassifier", "{loss: hinge}", "gives no probabilities"),
        ("sklearn.neighbors.KNeighborsClassifier", "{}", "keeps rows that it learned from"),
    ],
)
def test_what_cannot_be_learned_by_is_told_with_a_cure(
    project: Project, estimator: str, parameters: str, said: str
) -> None:
    tiny.learn_by(project, estimator, parameters)
    with pytest.raises(SpecError, match=rf"^late.yaml: training\..*{said}"):
        check_estimator(project.catalog.model(MODEL))


def test_parameters_may_be_switches_and_nothing(project: Project) -> None:
    tiny.learn_by(project, FOREST, "{bootstrap: false, max_depth: null, max_samples: null}")
    model = project.catalog.model(MODEL)
    check_estimator(model)
    assert model.training.parameters == {"bootstrap": False, "max_depth": None, "max_samples": None}


def test_a_value_that_the_estimator_refuses_is_told_in_its_own_words(world: Project) -> None:
    tiny.learn_by(world, FOREST, "{max_depth: -1}")
    with pytest.raises(
        Rejected, match=r"late.yaml: training: .*Forest.* refuses \(The 'max_depth' parameter"
    ):
        tiny.train_as_of(world, tiny.midnight(22))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("gate: 3d", "gate: 3d, max_trees: 400", "training: max_trees: sklearn.* in one go.*; remove it"),
        ("gate: 3d", "gate: 3d, stop: 4d, patience: 2", "training: stop, patience: .*; remove them"),
        ("gate: 3d", "gate: 3d, checkpoint: 5m", "training: checkpoint: "),
        ("training:", "compute: {train: {gpu: 1}}\ntraining:", "compute.train.gpu: .* remove gpu"),
        (LINEAR, "lightgbm.LGBMClassifier", "training.estimator: found 'lightgbm.*; allowed: xgboost"),
    ],
)
def test_what_means_nothing_for_an_estimator_is_refused_when_it_is_written(
    project: Project, old: str, new: str, said: str
) -> None:
    """The defaults' own values too."""
    tiny.learn_by(project, LINEAR)
    project.edit("models/late.yaml", old, new)
    with pytest.raises(SpecError, match=f"late.yaml: {said}"):
        project.catalog.model(MODEL)


def test_a_model_reads_back_from_what_is_kept_of_it(project: Project) -> None:
    tiny.learn_by(project, LINEAR)
    model = project.catalog.model(MODEL)
    kept = model.model_dump(mode="json")
    assert sorted(kept["training"]) == ["estimator", "gate", "history", "parameters", "schedule", "seed"]
    assert ModelSpec.model_validate(kept).training == model.training
