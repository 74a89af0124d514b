import pickletools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from include.lifecycle.data.point_in_time import EVENT_TIME, KEY, LABEL, pin_versions, read_rows
from include.lifecycle.model.checkpoints import NoCheckpoints
from include.lifecycle.model.features import compute_features, input_types, load_feature_code
from include.lifecycle.model.packaging import write_package
from include.lifecycle.model.predictor import BadInput, Predictor
from include.lifecycle.model.training import fit, fit_in_one_go
from include.lifecycle.model.training_set import InMemory
from include.lifecycle.spec.model import Training
from include.lifecycle.steps.train import datasets_of
from tests.lifecycle import tiny
from tests.lifecycle.tiny import MODEL, Project, midnight

NUMBERS_ONLY = b"def features(rows):\n    return {'distance': rows['distance'], 'rain': rows['rain']}\n"
TEXTS_ONLY = b"def features(rows):\n    return {'city': rows['city']}\n"


class Packaged:
    """A fit, its package, and rows to ask both about."""

    def __init__(self, project: Project, folder: Path, code: bytes, training: Training | None = None) -> None:
        training = training or Training(seed=1)
        model = project.catalog.model(MODEL)
        datasets = datasets_of(model, project.catalog)
        pins = pin_versions(model, project.store)
        self.rows = read_rows(model, datasets, pins, project.store, as_of=midnight(22))
        self.inputs = input_types(model, datasets)
        self.code = load_feature_code(code)
        features = self.features(self.rows)
        table = InMemory(self.rows, features)
        self.fitted = (
            fit("final", training, 20, table, NoCheckpoints())
            if training.is_xgboost
            else fit_in_one_go(training, table, None)
        )
        self.files = write_package(
            folder, self.fitted, code, inputs=self.inputs, key="trip_id", event_time="at"
        )
        self.predictor = Predictor(folder)

    def features(self, rows: pd.DataFrame) -> pd.DataFrame:
        return compute_features(self.code, rows, self.inputs)

    def agrees_on(self, rows: pd.DataFrame, singly: float = 0.0) -> None:
        """Fail unless fit and package answer the same, in one batch and row by row (up to `singly`)."""
        expected = self.fitted.predict(self.features(rows))
        columns = {name: rows[name].tolist() for name in self.inputs}
        np.testing.assert_allclose(self.predictor.predict(columns), expected, atol=1e-6)
        singles = [
            self.predictor.predict({name: [value] for name, value in zip(columns, row, strict=True)})[0]
            for row in zip(*columns.values(), strict=True)
        ]
        np.testing.assert_allclose(singles, self.predictor.predict(columns), rtol=0, atol=singly)


@pytest.fixture
def packaged(world: Project, tmp_path: Path) -> Packaged:
    return Packaged(world, tmp_path / "package", tiny.FEATURES)


def test_the_package_answers_as_its_fit_does(packaged: Packaged) -> None:
    packaged.agrees_on(packaged.rows.sample(80, random_state=1))


@pytest.mark.parametrize("column", ["city", "distance", "stops", "rain"])
def test_the_package_answers_as_its_fit_does_where_values_are_missing(
    packaged: Packaged, column: str
) -> None:
    packaged.agrees_on(packaged.rows.head(30).assign(**{column: None if column == "city" else np.nan}))


def test_the_package_answers_as_its_fit_does_on_a_city_it_never_saw(packaged: Packaged) -> None:
    unseen = packaged.rows.head(30).assign(city="ZRH")
    packaged.agrees_on(unseen)
    missing = packaged.predictor.predict(
        {name: unseen.assign(city=None)[name].tolist() for name in packaged.inputs}
    )
    assert (
        packaged.predictor.predict({name: unseen[name].tolist() for name in packaged.inputs}).tolist()
        == missing.tolist()
    )


@pytest.mark.parametrize("code", [NUMBERS_ONLY, TEXTS_ONLY])
def test_features_may_be_all_numbers_or_all_texts(world: Project, tmp_path: Path, code: bytes) -> None:
    Packaged(world, tmp_path / "package", code).agrees_on(first_rows(world))


def first_rows(project: Project) -> pd.DataFrame:
    model = project.catalog.model(MODEL)
    datasets = datasets_of(model, project.catalog)
    pins = pin_versions(model, project.store)
    return read_rows(model, datasets, pins, project.store, as_of=midnight(4)).head(20)


def test_a_boolean_may_be_missing(project: Project, tmp_path: Path) -> None:
    for day in range(1, 4):
        rows = tiny.trips(day)
        rows["express"] = rows["express"].astype("boolean").where(rows["stops"] > 0)
        tiny.put(project, "trips", f"{midnight(day):%Y-%m-%d}", rows)
        tiny.put(project, "sky", f"{midnight(day):%Y-%m-%d}", tiny.sky(day))
    packaged = Packaged(project, tmp_path / "package", tiny.FEATURES)
    assert packaged.rows["express"].isna().any()
    packaged.agrees_on(packaged.rows.head(40))


def test_a_text_that_was_missing_in_training_is_missing_to_the_package_as_well(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    codes, rain = draw.integers(0, 13, 2_000), draw.normal(size=2_000)
    cities = np.array([*"abcdefghijkl", None], dtype=object)[codes]
    features = pd.DataFrame({"city": cities, "never": np.full(2_000, None), "rain": rain})
    is_late = pd.Series(np.append(2 * draw.normal(size=12), -3)[codes] + rain > 0)
    rows = pd.DataFrame({KEY: "a", EVENT_TIME: midnight(1), LABEL: is_late.astype(float)})
    fitted = fit("final", Training(seed=1), 20, InMemory(rows, features), NoCheckpoints())
    inputs = {"city": "string", "never": "string", "rain": "number"}
    write_package(tmp_path, fitted, b"features = dict", inputs=inputs, key="trip_id", event_time="at")
    answers = Predictor(tmp_path).predict({name: features[name].tolist() for name in inputs})
    np.testing.assert_allclose(answers, fitted.predict(features), atol=1e-6)


def test_a_package_holds_its_files_and_no_pickle(packaged: Packaged) -> None:
    folder = packaged.files[0].parent
    assert sorted(file.name for file in folder.rglob("*") if file.is_file()) == [
        "booster.ubj",
        "features.py",
        "predictor.json",
        "predictor.py",
    ]
    for file in packaged.files:
        with pytest.raises(ValueError):
            list(pickletools.genops(file.read_bytes()))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"distance": ["far"]}, "distance: not a number"),
        ({"city": [7]}, "city: not a string"),
        ({"at": ["soon"]}, "at: not a timestamp"),
        ({"rain": None}, "rain: missing"),
    ],
)
def test_a_request_that_cannot_be_answered_names_its_field(
    packaged: Packaged, change: dict[str, list[object] | None], named: str
) -> None:
    row = {name: packaged.rows[name].head(1).tolist() for name in packaged.inputs}
    asked = {name: values for name, values in {**row, **change}.items() if values is not None}
    with pytest.raises(BadInput, match=named):
        packaged.predictor.predict(asked)
