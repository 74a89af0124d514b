"""YAML that says what it must not: the error names file and key, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.lifecycle.errors import Rejected, SpecError
from include.lifecycle.spec.catalog import Catalog
from tests.bad_input import source, tasks
from tests.bad_input.project import Project, refused


def test_a_yaml_with_a_typo_names_file_key_and_cure(project: Project, control: Project) -> None:
    partition = source.day(10)
    project.deliver(partition)
    file = project.specs / "datasets/trips.yaml"
    file.write_text(source.DATASET.replace("partition: day", "partiton: day"))
    with (
        project.unharmed(),
        refused(SpecError, f"{file}: partiton: unknown key; did you mean 'partition'?"),
    ):
        tasks.extract(partition)
    project.specify()
    project.ingest_as(control, partition)


def test_an_unknown_column_names_the_key_and_the_nearest_column(project: Project, control: Project) -> None:
    project.specify("column: delay", "column: dely")
    file = project.specs / "models/late.yaml"
    hint = f"{file}: label.column: unknown column 'dely'; did you mean 'delay'?"
    with project.unharmed(), refused(SpecError, hint):
        tasks.train("unknown column")
    project.train_as(control, "unknown column", seed=20)


def test_a_column_that_was_never_published_names_what_to_do(project: Project, control: Project) -> None:
    dataset = project.specs / "datasets/trips.yaml"
    dataset.write_text(source.DATASET.replace("  seats: integer", "  seats: integer\n  tolls: number"))
    model = project.specs / "models/late.yaml"
    model.write_text(source.MODEL.replace("seats, at]", "seats, tolls, at]"))
    with (
        project.unharmed(failed=1),
        refused(Rejected, "trips", "tolls", "restore them there, or give the dataset a new name"),
    ):
        tasks.train("unpublished column")
    project.train_as(control, "unpublished column", seed=21)


def test_an_unknown_expectation_names_the_nearest_one(project: Project, control: Project) -> None:
    partition = source.day(11)
    project.deliver(partition)
    text = source.DATASET.replace("to_not_be_null", "to_not_be_nul")
    (project.specs / "datasets/trips.yaml").write_text(text)
    with (
        project.unharmed(),
        refused(
            Rejected, "trips.yaml: expectations.0", "did you mean 'expect_column_values_to_not_be_null'?"
        ),
    ):
        tasks.ingest(partition)
    project.specify()
    project.ingest_as(control, partition)


def edited(old: str, new: str) -> bytes:
    assert old in source.DATASET
    return source.DATASET.replace(old, new).encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "found nothing; allowed: keys and values"),
        (b"- a\n- b\n", "found list; allowed: keys and values"),
        (bytes(range(128, 192)) + b"\xff\x00", "not YAML"),
        (edited("  type: files", "\ttype: files"), "not YAML"),
        (edited("partition: day", "partition: day\npartition: hour"), "key 'partition' is written twice"),
        (edited("  zone: string", "  zone: string\n  zone: number"), "key 'zone' is written twice"),
        (edited("%d}", "%d}{x}"), "{x}.csv.gz' may name {partition:%Y-%m-%d} alone"),
        (edited("{partition:%Y-%m-%d}", "{partition[0]}"), "may name {partition:%Y-%m-%d} alone"),
        (edited("%Y-%m-%d", "%Y-%m"), "names the same rows for several partitions of a day"),
        (edited("{column: zone}", "{column: zon}"), "unknown column 'zon'; did you mean 'zone'?"),
        (edited("key: [trip]", "key: [tripp]"), "key: unknown column 'tripp'; did you mean 'trip'?"),
        (edited("seats: integer", "seats: integr"), "columns.seats.type: found 'integr'; allowed: 'string'"),
    ],
)
def test_yaml_that_makes_no_sense_is_refused_when_it_is_read(
    tmp_path: Path, content: bytes, words: str
) -> None:
    source.write_specs(tmp_path)
    file = tmp_path / "datasets/trips.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        Catalog(tmp_path).dataset("trips")
    assert str(file) in str(caught.value)
    assert words in str(caught.value)


def test_a_folder_in_place_of_the_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "datasets/trips.yaml").mkdir(parents=True)
    with pytest.raises(SpecError, match=r"trips\.yaml: cannot be read"):
        Catalog(tmp_path).dataset("trips")


@pytest.mark.parametrize("name", ["trips__quarantine", "predictions__late"])
def test_a_dataset_cannot_take_the_name_of_another_table(tmp_path: Path, name: str) -> None:
    source.write_specs(tmp_path)
    (tmp_path / f"datasets/{name}.yaml").write_text(source.DATASET)
    with pytest.raises(SpecError, match=f"rename the file: '__' in '{name}'"):
        Catalog(tmp_path).dataset(name)


def test_a_label_that_is_no_number_is_refused(tmp_path: Path) -> None:
    source.write_specs(tmp_path)
    (tmp_path / "models/late.yaml").write_text(source.MODEL.replace("column: delay", "column: zone"))
    with pytest.raises(SpecError, match=r"label\.column: 'zone' is a string; .* needs a number"):
        Catalog(tmp_path).model("late")


def test_names_that_are_words_of_sql_work_from_ingestion_to_gates(project: Project) -> None:
    words = {"trip": "order", "zone": "group", "seats": "select", "distance": "from", "at": "timestamp"}
    dataset, model, features = (
        source.DATASET,
        source.MODEL.replace("rows: trips", "rows: table"),
        source.FEATURES,
    )
    for word, reserved in words.items():
        dataset = dataset.replace(f"  {word}:", f"  {reserved}:").replace(f"[{word}]", f"[{reserved}]")
        dataset = dataset.replace(f"column: {word}}}", f"column: {reserved}}}")
        dataset = dataset.replace(f"column: {word},", f"column: {reserved},")
        features = features.replace(f'rows["{word}"]', f'rows["{reserved}"]')
    dataset = dataset.replace("event_time: at", "event_time: timestamp").replace("trips/", "table/")
    model = model.replace("[zone, distance, seats, at]", "[group, from, select, timestamp]")
    (project.specs / "datasets/table.yaml").write_text(dataset)
    (project.specs / "models/where.yaml").write_text(model)
    (project.specs / "models/where.py").write_text(features)
    for number in range(source.DAYS):
        rows = source.trips(source.day(number)).rename(columns=words)
        source.deliver(project.landing, source.day(number), source.text_of(rows), "table")
        tasks.ingest(source.day(number), "table")
    assert tasks.gate("where", tasks.train("where", model="where"), "where")["verdict"]["passed"]
