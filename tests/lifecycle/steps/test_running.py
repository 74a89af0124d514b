from pathlib import Path

import pytest

from include.lifecycle.data.publishing import published_table
from include.lifecycle.errors import Rejected, Tampered
from include.lifecycle.spec.dataset import DatasetSpec
from include.lifecycle.spec.value import canonical_json
from include.lifecycle.steps import extract, train
from include.lifecycle.steps.__main__ import main
from include.lifecycle.steps.running import STEPS, run_step
from include.lifecycle.store.objects import object_path
from include.lifecycle.store.receipts import Call, Receipt, find_receipt, read_call, receipt_path, write_call
from tests.lifecycle import tiny
from tests.lifecycle.ingesting import ingest
from tests.lifecycle.tiny import MODEL, Project, midnight


@pytest.fixture
def call(project: Project) -> Call:
    tiny.deliver(project, tiny.trips(1), "trips", "2024-01-01")
    return extract.plan(project.catalog.dataset("trips"), "2024-01-01", project.store)


def test_a_step_leaves_its_call_and_its_receipt(project: Project, call: Call) -> None:
    receipt, adopted = run_step(call, project.store)
    assert not adopted
    assert find_receipt(call.run_key, project.store) == receipt
    assert read_call(call.run_key, project.store) == call
    assert receipt.counts == {"rows_in": 60, "suppressed": 0}
    assert receipt.started <= receipt.ended


def test_a_step_that_was_done_is_not_done_again(project: Project, call: Call) -> None:
    first, _ = run_step(call, project.store)
    (project.landing / "trips/2024-01-01.csv").unlink()
    assert run_step(call, project.store) == (first, True)


def test_a_changed_output_is_made_again_once_its_receipt_is_removed(project: Project, call: Call) -> None:
    """The cure that the message of a changed output names."""
    first, _ = run_step(call, project.store)
    staged = first.outputs["staged"]
    project.store.replace(object_path(staged.sha256), b"x" * staged.size)
    with pytest.raises(Tampered, match=f"remove {receipt_path(call.run_key)}"):
        run_step(call, project.store)
    (project.root / "store" / receipt_path(call.run_key)).unlink()
    again, adopted = run_step(call, project.store)
    assert not adopted
    assert find_receipt(call.run_key, project.store) == again


def test_a_call_of_other_code_is_rejected_and_leaves_nothing(project: Project, call: Call) -> None:
    stranger = call.model_copy(update={"code": "0" * 64})
    with pytest.raises(Rejected, match="deploy the same one everywhere"):
        run_step(stranger, project.store)
    assert find_receipt(stranger.run_key, project.store) is None


def test_a_step_that_fails_leaves_no_receipt(project: Project, call: Call) -> None:
    (project.landing / "trips/2024-01-01.csv").write_text("trip_id\n")
    with pytest.raises(Rejected):
        run_step(call, project.store)
    assert find_receipt(call.run_key, project.store) is None


def test_a_partition_that_has_not_arrived_cannot_be_planned(project: Project) -> None:
    with pytest.raises(Rejected, match="has not arrived"):
        extract.plan(project.catalog.dataset("trips"), "2024-01-09", project.store)


def test_the_extraction_depends_on_the_bytes_of_the_files(project: Project, call: Call) -> None:
    tiny.deliver(project, tiny.trips(2), "trips", "2024-01-01")
    assert extract.plan(project.catalog.dataset("trips"), "2024-01-01", project.store).run_key != call.run_key


def test_training_twice_gives_the_same_files(world: Project, trained: Receipt) -> None:
    """Same call, another store without the receipt: same bytes."""
    (world.root / "store" / receipt_path(trained.run_key)).unlink()
    again, adopted = run_step(trained.call, world.store)
    assert not adopted
    assert again.outputs == trained.outputs
    assert again.results == trained.results


def test_monitoring_and_gates_are_no_part_of_a_trainings_call(world: Project, trained: Receipt) -> None:
    world.edit("models/late.yaml", "min_rows: 20", "min_rows: 30")
    world.edit("models/late.yaml", "cooldown: 3d", "cooldown: 4d")
    call = train.plan(world.catalog.model(MODEL), world.catalog, midnight(22), world.store)
    assert call.run_key == trained.run_key


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("models/late.yaml", "max_depth: 3", "max_depth: 4"),
        ("models/late.yaml", "seed: 3", "seed: 4"),
        ("models/late.yaml", "seed: 3", "seed: 3\n  segment: 20"),
        ("models/late.py", '"rain": rows["rain"]', '"rain": -rows["rain"]'),
        ("datasets/sky.yaml", "rain: number", "rain: {type: number, known_after: 1h}"),
    ],
)
def test_what_changes_the_model_changes_call_and_fingerprint(
    world: Project, trained: Receipt, file: str, old: str, new: str
) -> None:
    world.edit(file, old, new)
    call = train.plan(world.catalog.model(MODEL), world.catalog, midnight(22), world.store)
    assert call.run_key != trained.run_key
    assert train.fingerprint(call) != train.fingerprint(trained.call)


def test_new_data_change_the_call_but_not_the_fingerprint(world: Project, trained: Receipt) -> None:
    tiny.put_days(world, 25, 25)
    call = train.plan(world.catalog.model(MODEL), world.catalog, midnight(22), world.store)
    assert call.run_key != trained.run_key
    assert train.fingerprint(call) == train.fingerprint(trained.call)


def test_a_recorded_call_runs_from_the_command_line(
    project: Project, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    write_call(call, project.store)
    assert main(["extract", call.run_key]) == 0
    assert capsys.readouterr().out.strip() == call.run_key
    assert find_receipt(call.run_key, project.store) is not None


@pytest.mark.parametrize("arguments", [[], ["extract"], ["dance", "0" * 64]])
def test_an_unknown_command_says_how_it_is_used(
    project: Project, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err


def test_the_exit_code_says_that_a_retry_does_not_help(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["extract", "0" * 64]) == 1
    assert "Tampered" in capsys.readouterr().err


def test_the_exit_code_says_that_a_retry_helps(
    project: Project, call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_call(call, project.store)
    (project.root / "store/receipts").write_text("a file in the way of the receipts")
    assert main(["extract", call.run_key]) == 75
    assert "Transient" in capsys.readouterr().err


def test_every_step_has_a_module_of_its_name() -> None:
    folder = Path(train.__file__).parent
    assert {f"{step}.py" for step in STEPS} <= {file.name for file in folder.iterdir()}


def test_a_table_has_its_columns_in_the_order_of_the_yaml(project: Project) -> None:
    tiny.deliver(project, tiny.trips(3), "trips", "2024-01-03")
    written = project.catalog.dataset("trips")
    stored = DatasetSpec.model_validate_json(canonical_json(written.model_dump(mode="json")))
    ingest(stored, "2024-01-03", project.store)
    table = published_table("trips", project.store).dataset()
    assert table is not None
    assert table.schema.names[: len(written.columns)] == list(written.columns) != sorted(written.columns)
