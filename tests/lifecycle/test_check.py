from pathlib import Path

import pytest
from mlflow import MlflowClient

from include.lifecycle.__main__ import main, mistakes
from include.lifecycle.model.registry import Registry
from include.lifecycle.release.billing import use
from include.lifecycle.release.decisions import record
from include.lifecycle.release.history import json_lines, told
from include.lifecycle.store.receipts import Call, Receipt
from include.lifecycle.store.usage import Attempt, Usage
from tests.lifecycle import tiny
from tests.lifecycle.release.test_costs import PRICES
from tests.lifecycle.tiny import MODEL, Project


def test_fine_specs_pass_the_check(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "2 datasets and 1 models are fine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("datasets/trips.yaml", "partition: day", "partition: year", "trips.yaml: partition"),
        (
            "datasets/trips.yaml",
            "to_be_between",
            "to_be_betwen",
            "did you mean 'expect_column_values_to_be_between'",
        ),
        ("models/late.yaml", "rows: trips", "rows: trip", "unknown dataset 'trip'"),
        ("models/late.py", "def features", "def feature", "define `features(rows)`"),
        (
            "models/late.yaml",
            "training:\n  stop: 4d\n  gate: 3d\n  max_trees: 30\n  min_trees: 5\n  patience: 5",
            "training:\n  gate: 3d\n  estimator: sklearn.linear_model.LogisticRegression",
            "late.yaml: training.parameters: unknown 'max_depth' of sklearn.linear_model.LogisticRegression",
        ),
        ("profiles/local.yaml", "threads: 1", "threads: 0", "local.yaml: threads"),
    ],
)
def test_whatever_is_wrong_is_named_once(
    project: Project, file: str, old: str, new: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project.edit(file, old, new)
    found = mistakes()
    assert len(found) == len(set(found))
    assert any(expected in mistake for mistake in found)
    assert main(["check"]) == 1
    assert expected in capsys.readouterr().err


def test_an_unknown_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["dance"])
    assert "usage" in capsys.readouterr().err


def test_costs_are_printed_per_model_and_month(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    call = Call(step="train", spec={}, as_of=tiny.midnight(1), code="c")
    attempt = Attempt(id="one", where="process", usage=Usage(cpu_seconds=7200))
    record(project.ledger, use(attempt, call, PRICES), tiny.ACTOR)
    (month,) = project.state().usage
    for arguments in (["costs"], ["costs", "late"]):
        assert main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "late"
        assert lines[2].split() == [month, "1", "7,200.0", "0.0", "0.0", "0.08", "EUR"]
    assert main(["costs", "lat"]) == 1
    assert "no ledger of 'lat'" in (said := capsys.readouterr().err)
    assert "did you mean 'late'?" in said


def test_decisions_are_shown_to_people_and_exported_to_programs(
    world: Project, trained: Receipt, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.crown(world, trained, "1")
    for what, expected in (("show", told), ("export", json_lines)):
        assert main(["ledger", what, MODEL]) == 0
        assert capsys.readouterr().out == expected(world.ledger.entries())


def test_a_ledger_is_verified_against_the_head_that_mlflow_was_told_of(
    world: Project,
    trained: Receipt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A chain whose end was cut off is unbroken: without MLflow nobody can tell."""
    tiny.crown(world, trained, "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["ledger", "verify", MODEL]) == 1
    assert "set MLFLOW_TRACKING_URI" in capsys.readouterr().err

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    MlflowClient(uri).create_registered_model(MODEL)
    assert main(["ledger", "verify", MODEL]) == 1
    assert "run late.release" in capsys.readouterr().err

    head = world.ledger.entries()[-1]
    Registry(uri).set_anchor(MODEL, head.seq, head.hash)
    assert main(["ledger", "verify", MODEL]) == 0
    assert "5 entries, none changed, removed, reordered or cut off" in capsys.readouterr().out

    newest = sorted((world.root / "store/ledger" / MODEL).glob("*.json"))[-1]
    content = newest.read_bytes()
    newest.unlink()
    assert main(["ledger", "verify", MODEL]) == 1
    assert "was cut off" in capsys.readouterr().err

    newest.write_bytes(content.replace(b"a test", b"a lie!"))
    assert main(["ledger", "verify", MODEL]) == 1
    assert "entry 4 was changed" in capsys.readouterr().err
