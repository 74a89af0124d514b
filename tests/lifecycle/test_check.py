import pytest

from include.lifecycle.__main__ import check, main
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
    mistakes = check()
    assert len(mistakes) == len(set(mistakes))
    assert any(expected in mistake for mistake in mistakes)
    assert main(["check"]) == 1
    assert expected in capsys.readouterr().err


def test_an_unknown_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dance"]) == 2
    assert "usage" in capsys.readouterr().err
