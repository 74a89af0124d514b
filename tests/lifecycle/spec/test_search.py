from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.lifecycle.errors import SpecError
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.reading import read_spec
from include.lifecycle.spec.search import Range, Search
from tests.lifecycle import tiny


def read(folder: Path, old: str = "", new: str = "") -> ModelSpec:
    text = tiny.LATE + tiny.SEARCH
    assert old in text
    file = folder / "late.yaml"
    file.write_text(text.replace(old, new, 1))
    return read_spec(file, ModelSpec)


def test_a_search_reads_as_it_is_written(tmp_path: Path) -> None:
    search = read(tmp_path).search
    assert search is not None
    assert search.space["max_depth"].bounds == (2, 5)
    assert search.space["learning_rate"].log
    assert search.space["grow_policy"].categorical == ("depthwise", "lossguide")
    assert search.rounds == 3
    assert (search.metric, search.pruner, search.schedule) == ("brier", "median", None)
    assert Search.model_validate(search.model_dump(mode="json")) == search


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("max_depth: {int:", "max_depth: {integer:", "max_depth.integer: unknown key; did you mean 'int'?"),
        ("{int: [2, 5]}", "{}", "exactly one of int: [low, high], float: [low, high], categorical:"),
        ("{int: [2, 5]}", "{int: [2, 5], float: [1, 2]}", "exactly one of int"),
        ("{int: [2, 5]}", "{int: [5, 2]}", "[low, high] with low < high"),
        (
            "{int: [2, 5]}",
            "{int: [2.5, 5]}",
            "search.space.max_depth.int.0: found 2.5; allowed: a valid integer",
        ),
        ("{int: [2, 5]}", "{int: [0, 5], log: true}", "log: true for numbers above 0 only"),
        (
            "0.5], log",
            ".inf], log",
            "search.space.learning_rate.float.1: found inf; allowed: a finite number",
        ),
        ("[depthwise, lossguide]", "[depthwise]", "search.space.grow_policy.categorical"),
        ("[depthwise, lossguide]", "[depthwise, depthwise]", "each category once"),
        ("[depthwise, lossguide]", "[a, b], log: true", "categories have no order"),
        ("max_depth: {int", "device: {int", "no device here: write compute: {trial: {gpu: 1}}"),
        ("max_depth: {int", "n_estimators: {int", "early stopping chooses the number of trees"),
        ("  segment: 5", "  segmnt: 5", "search.segmnt: unknown key; did you mean 'segment'?"),
        ("  segment: 5", "  pruner: medan", "search.pruner: found 'medan'; allowed: 'median', 'hyperband'"),
        (
            "  segment: 5",
            "  metric: rmse",
            "search.metric: found 'rmse'; allowed: 'brier', 'log_loss' or 'auc'",
        ),
        ("trials: 6", "trials: 500", "250 rounds, at most 100 allowed; raise parallel to 5"),
        ("trials: 6", "trials: 0", "search.trials"),
    ],
)
def test_nonsense_is_refused_with_its_place_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, old, new)
    assert expected in str(caught.value)


def test_a_range_contains_what_it_can_give() -> None:
    whole, number = Range(int=(2, 5)), Range(float=(0.1, 1))
    assert [whole.contains(value) for value in (2, 5, 6, 2.5, "2")] == [True, True, False, False, False]
    assert [number.contains(value) for value in (0.1, 1, 0.05, "a")] == [True, True, False, False]
    assert [Range(categorical=("a", 1)).contains(value) for value in ("a", 1, "b")] == [True, True, False]


@given(low=st.integers(-9, 9), high=st.integers(-9, 9))
def test_a_space_is_told_from_every_other(low: int, high: int) -> None:
    base = Search(space={"max_depth": Range(int=(-10, 10))})
    other = base.model_copy(update={"space": {"max_depth": Range(int=(min(low, high) - 1, max(low, high)))}})
    assert base.space_hash != other.space_hash
    assert base.space_hash == base.model_copy(update={"trials": 99}).space_hash
