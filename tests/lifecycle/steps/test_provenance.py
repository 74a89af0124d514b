from typing import Any

import pytest

from include.lifecycle.steps.provenance import Provenance, differences, this_machine
from tests.lifecycle.tiny import Project

THEN: dict[str, Any] = {
    "files": {"include/lifecycle/model/training.py": "a", "include/lifecycle/model/gpu.py": "b"},
    "lock": "l",
    "libraries": {"xgboost": "3.2.0", "numpy": "2.4.6", "aiohttp": "3.14.5"},
    "python": "3.11.9",
    "processor": "x86_64",
    "threads": 1,
    "device": "cpu",
    "data": {"trips": {"2024-01-01": "x", "2024-01-02": "y"}},
}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({}, []),
        (
            {"libraries": {**THEN["libraries"], "xgboost": "3.3.1"}},
            ["xgboost 3.2.0 then, 3.3.1 now"],
        ),
        ({"libraries": {"xgboost": "3.2.0", "numpy": "2.4.6"}}, []),
        ({"threads": 8}, ["threads 1 then, 8 now"]),
        ({"device": "NVIDIA H200"}, ["device cpu then, NVIDIA H200 now"]),
        ({"processor": "aarch64"}, ["processor x86_64 then, aarch64 now"]),
        ({"python": "3.11.10"}, ["python 3.11.9 then, 3.11.10 now"]),
        (
            {"data": {"trips": {"2024-01-01": "z", "2024-01-03": "w"}}},
            ["trips has other rows at the pinned version, in 2024-01-01, 2024-01-02, 2024-01-03"],
        ),
        (
            {"files": {"include/lifecycle/model/training.py": "c"}, "lock": "m"},
            [
                "include/lifecycle/model/gpu.py is not the same",
                "include/lifecycle/model/training.py is not the same",
                "requirements.txt is not the same",
            ],
        ),
    ],
)
def test_all_that_differs_is_named(now: dict[str, Any], said: list[str]) -> None:
    assert differences(Provenance(**THEN), Provenance(**{**THEN, **now})) == said


def test_a_machine_is_another_one_once_it_trains_otherwise(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = this_machine()
    assert this_machine() == before
    monkeypatch.setenv("PERENNIAL_THREADS", "7")
    assert this_machine() != before
