import shutil

import pytest

from include.lifecycle.data.pinned import contents, lost_data
from tests.lifecycle import tiny
from tests.lifecycle.tiny import Project, midnight


@pytest.fixture
def pins(project: Project) -> dict[str, int]:
    """Both datasets after 30 days, more than one of Delta's checkpoints."""
    tiny.put_days(project, 1, 30)
    return {"trips": 30, "sky": 5}


def test_data_that_are_whole_are_not_lost_and_say_what_is_in_them(
    project: Project, pins: dict[str, int]
) -> None:
    assert lost_data(pins, project.store) is None
    found = contents(pins, project.store)
    assert (len(found["trips"]), len(found["sky"])) == (30, 5)
    tiny.put(project, "sky", f"{midnight(2):%Y-%m-%d}", tiny.sky(99))
    assert contents(pins, project.store) == found


def test_the_dataset_and_version_that_are_lost_are_named_with_the_reason(
    project: Project, pins: dict[str, int]
) -> None:
    table = project.root / "store/tables/sky"
    for entry in sorted((table / "_delta_log").glob("*.json"))[:25]:
        entry.unlink()  # as Delta does when its log is old
    assert lost_data({"sky": 30}, project.store) is None
    assert lost_data(pins, project.store) == "version 5 of sky is not in its table's log any more"
    next(table.glob(f"_partition={midnight(30):%Y-%m-%d}/*.parquet")).unlink()
    assert "files of sky at version 30 are gone" in str(lost_data({"sky": 30}, project.store))
    shutil.rmtree(table)
    assert "sky has no version 5" in str(lost_data(pins, project.store))
