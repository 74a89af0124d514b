import pytest

from include.lifecycle.__main__ import main, mistakes
from include.lifecycle.release.billing import use
from include.lifecycle.release.decisions import record
from include.lifecycle.store.receipts import Call
from include.lifecycle.store.usage import Attempt, Usage
from tests.lifecycle import tiny
from tests.lifecycle.release.test_costs import PRICES
from tests.lifecycle.tiny import Project


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
