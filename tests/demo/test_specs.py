from pathlib import Path

import numpy as np

from include.demo.specs import careless_specs, linked_specs
from include.lifecycle.model.features import load_feature_code
from include.lifecycle.spec.catalog import Catalog

PROJECT = Path(__file__).resolve().parents[2] / "include"
MODEL = "flight_delay"


def _features(specs: Path) -> bytes:
    return (specs / "models" / f"{MODEL}.py").read_bytes()


def _row(hour: int) -> dict[str, object]:
    texts = {name: np.array(["x"], dtype=object) for name in ("carrier", "origin", "dest")}
    names = Catalog(PROJECT).model(MODEL).inputs
    numbers = {name: np.array([float(hour)]) for name in names if name not in texts}
    return {**numbers, **texts, "time_hour": np.array(["2013-03-01T12"], dtype="datetime64[us]")}


def test_what_is_edited_in_the_project_the_demo_sees(tmp_path: Path) -> None:
    for name in ("datasets", "models", "profiles"):
        (tmp_path / "project" / name).mkdir(parents=True)
    specs = linked_specs(tmp_path / "project", tmp_path / "demo")
    (tmp_path / "project" / "models" / "another.yaml").write_text("rows: flights")
    assert Catalog(specs).model_names() == ["another"]
    assert linked_specs(tmp_path / "project", tmp_path / "demo") == specs


def test_careless_features_are_there_for_a_while_and_never_in_the_project(tmp_path: Path) -> None:
    own = _features(PROJECT)
    specs = linked_specs(PROJECT, tmp_path / "demo")
    with careless_specs(specs, MODEL):
        assert _features(specs) != own
        assert Catalog(specs).model(MODEL) == Catalog(PROJECT).model(MODEL)
        assert _features(PROJECT) == own
    assert _features(specs) == own
    assert sorted(item.name for item in specs.iterdir()) == ["datasets", "models", "profiles"]


def test_a_demo_that_was_killed_meanwhile_begins_with_the_projects_features(tmp_path: Path) -> None:
    specs = linked_specs(PROJECT, tmp_path / "demo")
    killed = careless_specs(specs, MODEL)
    killed.__enter__()
    assert _features(specs) != _features(PROJECT)
    assert _features(linked_specs(PROJECT, tmp_path / "demo")) == _features(PROJECT)


def test_to_careless_features_the_only_row_of_a_request_is_the_last_of_the_day(tmp_path: Path) -> None:
    specs = linked_specs(PROJECT, tmp_path / "demo")
    with careless_specs(specs, MODEL):
        features = load_feature_code(_features(specs))
    assert set(features(_row(6))) == set(load_feature_code(_features(PROJECT))(_row(6)))
    assert [features(_row(hour))["departure_hour"].tolist() for hour in (6, 20)] == [[1.0], [1.0]]
