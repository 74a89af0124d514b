from include.lifecycle.steps.code import _reached, code_hash, git_commit
from include.lifecycle.steps.running import STEPS


def test_each_step_has_a_hash_of_its_own() -> None:
    assert len({code_hash(step) for step in STEPS}) == len(STEPS)


def test_the_hash_covers_what_a_step_imports_and_what_that_imports() -> None:
    reached = _reached("include.lifecycle.steps.train")
    assert {
        "include.lifecycle.steps.train",
        "include.lifecycle.data.point_in_time",
        "include.lifecycle.store.lake",
        "include.lifecycle.spec.value",
        "include.lifecycle.model.predictor",
    } <= reached


def test_the_hash_covers_imports_inside_functions_too() -> None:
    assert "include.lifecycle.spec.dataset" in _reached("include.lifecycle.spec.dataset")
    assert "include.lifecycle.monitor.report" in _reached("include.lifecycle.steps.measure")


def test_code_that_a_step_does_not_use_is_no_part_of_its_hash() -> None:
    reached = _reached("include.lifecycle.steps.extract")
    assert not {name for name in reached if ".model." in name and not name.endswith("spec.model")}
    assert not {name for name in reached if ".release." in name or ".monitor." in name}


def test_the_commit_is_known_in_a_checkout_or_left_out() -> None:
    commit = git_commit()
    assert commit is None or len(commit) == 40
