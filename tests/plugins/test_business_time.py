from datetime import UTC, datetime

import pendulum
import pytest
from airflow.sdk.api.datamodels._generated import DagRunType
from mlops.business_time import actor, asked, asked_or_slot, is_asked_for, slot

from include.lifecycle.errors import Rejected
from tests.lifecycle.tiny import midnight
from tests.plugins.contexts import context_of, day_of


def test_a_run_stands_at_the_end_of_its_interval() -> None:
    assert slot(day_of(3)) == midnight(4)


def test_a_run_with_a_logical_date_alone_stands_there() -> None:
    assert slot(context_of(logical_date=midnight(3), run_after=midnight(9))) == midnight(3)


def test_a_run_triggered_by_hand_or_asset_stands_when_it_was_to_run() -> None:
    assert slot(context_of(run_after=midnight(9))) == midnight(9)


def test_a_slot_is_a_plain_datetime_in_utc() -> None:
    found = slot(context_of(run_after=pendulum.datetime(2024, 1, 1, 3, tz="Europe/Berlin")))
    assert type(found) is datetime
    assert found.tzinfo is UTC
    assert found.hour == 2


@pytest.mark.parametrize("text", ["2024-01-05T00:00:00Z", "2024-01-05", "2024-01-05T02:00:00+02:00"])
def test_what_the_form_says_comes_first(text: str) -> None:
    assert asked_or_slot(day_of(9, as_of=text), "as_of") == midnight(5)


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_field_means_the_runs_own_slot(empty: str | None) -> None:
    assert asked(day_of(9, as_of=empty), "as_of") is None
    assert asked_or_slot(day_of(9, as_of=empty), "as_of") == midnight(10)


def test_a_bad_moment_in_the_form_is_rejected_with_an_example() -> None:
    with pytest.raises(Rejected, match="as_of: found 'yesterday'; write a moment such as"):
        asked_or_slot(day_of(9, as_of="yesterday"), "as_of")


def test_the_actor_is_the_person_else_the_dag_and_its_run_names_both() -> None:
    assert actor(day_of(3)).name == "late.train"
    found = actor(day_of(3, user="ann", run_id="manual__1"))
    assert (found.name, found.run_id) == ("ann", "late.train/manual__1")


@pytest.mark.parametrize(
    ("run_type", "expected"),
    [
        (DagRunType.MANUAL, True),
        (DagRunType.BACKFILL, True),
        (DagRunType.SCHEDULED, False),
        (DagRunType.ASSET_TRIGGERED, False),
    ],
)
def test_a_person_asks_by_hand_or_by_a_backfill(run_type: DagRunType, expected: bool) -> None:
    assert is_asked_for(context_of(run_type=run_type)) == expected
