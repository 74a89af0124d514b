from datetime import timedelta
from pathlib import Path

import pytest

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.catalog import Catalog, label_known_after, open_catalog
from tests.lifecycle.tiny import MODEL, Project

PROJECT_SPECS = Path(__file__).resolve().parents[3] / "include"
LATE_COLUMNS = [
    (model, column)
    for model in Catalog(PROJECT_SPECS).model_names()
    for column, spec in Catalog(PROJECT_SPECS)
    .dataset(Catalog(PROJECT_SPECS).model(model).rows)
    .columns.items()
    if spec.known_after
]


def _with_model(folder: Path, model: str, **changes: str) -> Catalog:
    """The project's own specs in a folder, one model changed."""
    for kind in ("datasets", "models"):
        (folder / kind).mkdir(parents=True)
        for file in (PROJECT_SPECS / kind).iterdir():
            if file.is_file():
                (folder / kind / file.name).write_bytes(file.read_bytes())
    path = folder / "models" / f"{model}.yaml"
    text = path.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return Catalog(folder)


def test_the_projects_own_specs_are_fine() -> None:
    assert Catalog(PROJECT_SPECS).mistakes() == []


def test_the_project_has_columns_that_are_known_late() -> None:
    assert ("flight_delay", "arr_delay") in LATE_COLUMNS


@pytest.mark.parametrize(("model", "column"), LATE_COLUMNS)
def test_a_column_known_only_after_the_event_is_refused_as_an_input(
    tmp_path: Path, model: str, column: str
) -> None:
    catalog = _with_model(tmp_path, model, **{"inputs: [": f"inputs: [{column}, "})
    with pytest.raises(
        SpecError, match=rf"{model}.yaml: inputs: '{column}' is known only .* after the event"
    ):
        catalog.model(model)


@pytest.mark.parametrize(("lag", "fine"), [("59m", False), ("1h", True), ("2h", True)])
def test_a_joined_column_must_be_known_when_the_event_happens(project: Project, lag: str, fine: bool) -> None:
    project.edit("datasets/sky.yaml", "rain: number", "rain: {type: number, known_after: 1h}")
    project.edit("models/late.yaml", "lag: 1h", f"lag: {lag}")
    if fine:
        assert project.catalog.model(MODEL).joins[0].dataset == "sky"
        return
    with pytest.raises(SpecError, match="inputs: 'rain' is known only"):
        project.catalog.model(MODEL)


def test_a_join_by_a_column_known_only_after_the_event_is_refused(project: Project) -> None:
    project.edit("datasets/trips.yaml", "city: string", "city: {type: string, known_after: 1h}")
    project.edit("models/late.yaml", "inputs: [city, ", "inputs: [")
    with pytest.raises(SpecError, match=r"joins.0.by: 'city' is known only .* after the event"):
        project.catalog.model(MODEL)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("inputs: [city,", "inputs: [citi,", "inputs: unknown column 'citi'; did you mean 'city'?"),
        ("column: delay", "column: dalay", "label.column: unknown column 'dalay'; did you mean 'delay'?"),
        ("by: [city]", "by: [cty]", "joins.0.by: unknown column 'cty'; did you mean 'city'?"),
        ("rows: trips", "rows: tripz", "rows: unknown dataset 'tripz'; did you mean 'trips'?"),
        ("dataset: sky", "dataset: skyy", "joins.0.dataset: unknown dataset 'skyy'; did you mean 'sky'?"),
        ("rows: trips", "features: other.py\nrows: trips", "features: no file"),
    ],
)
def test_a_model_that_asks_for_what_is_not_there_is_refused_by_file_and_key(
    project: Project, old: str, new: str, expected: str
) -> None:
    project.edit("models/late.yaml", old, new)
    with pytest.raises(SpecError) as caught:
        project.catalog.model(MODEL)
    assert str(caught.value).startswith(f"{project.specs}/models/late.yaml: {expected}")


def test_rows_must_have_a_key_of_one_column(project: Project) -> None:
    project.edit("datasets/trips.yaml", "key: [trip_id]", "key: [trip_id, at]")
    with pytest.raises(SpecError, match="key of one column"):
        project.catalog.model(MODEL)


@pytest.mark.parametrize(
    "broken", ["nonsense: 1", "a: [", "start: 2013-02-30", "- a list", "governor: {cooldown: 99999999999d}"]
)
def test_one_broken_file_leaves_all_others_working(project: Project, broken: str) -> None:
    (project.specs / "datasets/broken.yaml").write_text(broken)
    (project.specs / "models/cracked.yaml").write_text(broken)
    catalog = project.catalog
    found = [str(mistake).split(":")[0] for mistake in catalog.mistakes()]
    assert found == [f"{project.specs}/datasets/broken.yaml", f"{project.specs}/models/cracked.yaml"]
    assert catalog.dataset("trips").name == "trips"
    assert catalog.model(MODEL).name == MODEL
    assert "broken" in catalog.dataset_names()


def test_a_changed_file_is_read_again(project: Project) -> None:
    assert project.catalog.dataset("trips").quarantine.max_share == 0.5
    project.edit("datasets/trips.yaml", "max_share: 0.5", "max_share: 0.25")
    assert project.catalog.dataset("trips").quarantine.max_share == 0.25


def test_the_environment_names_the_specs(project: Project) -> None:
    assert open_catalog().root == project.specs


def test_without_a_word_the_projects_own_specs_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERENNIAL_SPECS", raising=False)
    assert open_catalog().root == PROJECT_SPECS


def test_a_label_is_known_when_its_column_is(project: Project) -> None:
    model = project.catalog.model(MODEL)
    assert label_known_after(model, project.catalog.dataset("trips")) == timedelta(days=1)


def test_a_key_that_is_a_pseudonym_may_name_predictions(project: Project) -> None:
    project.edit("datasets/trips.yaml", "trip_id: string", "trip_id: {type: string, privacy: pseudonym}")
    project.edit("datasets/trips.yaml", "key: [trip_id]", "key: [trip_id]\nprivacy: {key: people}")
    assert project.catalog.model(MODEL).rows == "trips"


@pytest.mark.parametrize(
    ("file", "column", "privacy", "expected"),
    [
        ("trips", "city: string", "pseudonym", r"inputs: 'city' is treated.*prediction log keeps"),
        ("trips", "stops: integer", "{generalise: {width: 10}}", r"inputs: 'stops' is treated"),
        ("trips", "stops: integer", "drop", "inputs: 'stops' is dropped"),
        ("sky", "rain: number", "{generalise: {width: 1}}", "inputs: 'rain' is treated"),
        (
            "trips",
            "at: timestamp",
            "{generalise: {period: day}}",
            "the event time 'at' of trips is generalised",
        ),
    ],
)
def test_what_clients_would_send_raw_is_refused(
    project: Project, file: str, column: str, privacy: str, expected: str
) -> None:
    name, kind = column.split(": ")
    project.edit(f"datasets/{file}.yaml", column, f"{name}: {{type: {kind}, privacy: {privacy}}}")
    project.edit(f"datasets/{file}.yaml", "event_time: at", "event_time: at\nprivacy: {key: people}")
    project.edit("models/late.yaml", "express, at, rain", "express, rain")
    with pytest.raises(SpecError, match=rf"late.yaml: .*{expected}"):
        project.catalog.model(MODEL)


def test_an_input_that_was_looked_at_and_kept_is_fine(project: Project) -> None:
    project.edit("datasets/trips.yaml", "city: string", "city: {type: string, privacy: keep}")
    assert "city" in project.catalog.model(MODEL).inputs


def test_a_label_that_is_dropped_is_refused(project: Project) -> None:
    project.edit("datasets/trips.yaml", "known_after: 1d}", "known_after: 1d, privacy: drop}")
    with pytest.raises(SpecError, match=r"label\.column: 'delay' is dropped"):
        project.catalog.model(MODEL)
