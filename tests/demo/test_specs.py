from pathlib import Path

from include.demo.specs import careless_specs, linked_specs
from include.lifecycle.spec.catalog import Catalog

PROJECT = Path(__file__).resolve().parents[2] / "include"
MODEL = "flight_delay"


def _late(specs: Path) -> float:
    return Catalog(specs).model(MODEL).label.at_least


def test_what_is_edited_in_the_project_the_demo_sees(tmp_path: Path) -> None:
    for name in ("datasets", "models", "profiles"):
        (tmp_path / "project" / name).mkdir(parents=True)
    specs = linked_specs(tmp_path / "project", tmp_path / "demo")
    (tmp_path / "project" / "models" / "another.yaml").write_text("rows: flights")
    assert Catalog(specs).model_names() == ["another"]
    assert linked_specs(tmp_path / "project", tmp_path / "demo") == specs


def test_another_label_is_there_for_a_while_and_never_in_the_project(tmp_path: Path) -> None:
    specs = linked_specs(PROJECT, tmp_path / "demo")
    with careless_specs(specs, MODEL):
        assert _late(specs) == -15
        assert _late(PROJECT) == 15
    assert _late(specs) == 15
    assert sorted(item.name for item in specs.iterdir()) == ["datasets", "models", "profiles"]


def test_a_demo_that_was_killed_meanwhile_begins_with_the_projects_label(tmp_path: Path) -> None:
    specs = linked_specs(PROJECT, tmp_path / "demo")
    killed = careless_specs(specs, MODEL)
    killed.__enter__()
    assert _late(specs) == -15
    assert _late(linked_specs(PROJECT, tmp_path / "demo")) == 15
