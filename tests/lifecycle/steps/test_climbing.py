from datetime import UTC, datetime

import pytest

from include.lifecycle.release.decisions import record
from include.lifecycle.release.document import ReleaseDocument, read_release
from include.lifecycle.release.judge import Judgement
from include.lifecycle.release.ladder import rungs
from include.lifecycle.release.moves import move
from include.lifecycle.spec.model import ModelSpec
from include.lifecycle.spec.release import Canary, Shadow
from include.lifecycle.steps.climbing import abort, climb, judge_by_labels
from include.lifecycle.steps.releasing import promote
from include.lifecycle.store.receipts import Receipt
from tests.lifecycle import tiny
from tests.lifecycle.monitor.test_performance import log_predictions
from tests.lifecycle.tiny import ACTOR, MODEL, Project, midnight


@pytest.fixture
def approved(world: Project, trained: Receipt) -> Project:
    """A champion, version 1, and an approved version 2."""
    tiny.crown(world, tiny.train_as_of(world, midnight(20)), "1")
    tiny.propose_version(world, trained, "2")
    for stage in ("staged", "approved"):
        record(world.ledger, move("2", stage, "good"), ACTOR)
    return world


def _model(world: Project) -> ModelSpec:
    spec = world.catalog.model(MODEL)
    way = {"shadow": Shadow(), "canary": Canary(shares=(0.1, 0.5)), "slice_by": "city"}
    return spec.model_copy(update={"release": spec.release.model_copy(update=way)})


def _climb(
    world: Project, model: ModelSpec, watched: tuple[str, float] | None = None
) -> tuple[str, float] | None:
    on = next((rung for rung in rungs(model.release) if (rung.stage, rung.share) == watched), None)
    found = climb(model, "2", world.store, ACTOR, watched=on)
    if found is None:
        return None
    assert found[1] <= datetime.now(UTC)
    return found[0].stage, found[0].share


def _document(world: Project) -> ReleaseDocument:
    document = read_release(MODEL, world.store)
    assert document is not None
    assert document.champion is not None
    return document


def test_a_version_climbs_from_shadow_to_the_top_and_servers_are_told_of_each_rung(approved: Project) -> None:
    model = _model(approved)
    watched = None
    for rung in (("shadow", 0.0), ("canary", 0.1), ("canary", 0.5)):
        assert _climb(approved, model, watched) == rung
        watched = rung
        document = _document(approved)
        assert document.candidate is not None
        assert document.champion is not None
        assert (document.champion.version, document.candidate.version) == ("1", "2")
        assert (document.share, document.slow_seconds, document.slice_by) == (rung[1], 0.05, "city")
    assert _climb(approved, model, watched) is None
    promoted = promote(MODEL, "2", approved.store, ACTOR)
    assert promoted is not None
    assert promoted.event == "promoted"


def test_who_is_tried_again_stays_on_its_rung_and_its_time_goes_on(approved: Project) -> None:
    model = _model(approved)
    first = climb(model, "2", approved.store, ACTOR)
    entries = approved.ledger.length()
    assert climb(model, "2", approved.store, ACTOR) == first
    assert approved.ledger.length() == entries


def test_of_two_who_watched_the_same_rung_only_one_takes_it_further(approved: Project) -> None:
    model = _model(approved)
    shadow = _climb(approved, model)
    assert [_climb(approved, model, shadow) for _ in range(2)] == [("canary", 0.1)] * 2
    assert approved.state().standings["2"].share == 0.1


def test_servers_are_told_of_an_abort_by_the_next_try_when_the_first_died_after_the_decision(
    approved: Project,
) -> None:
    model = _model(approved)
    _climb(approved, model)
    record(approved.ledger, move("2", "aborted", "it fails"), ACTOR)
    assert _document(approved).candidate is not None
    assert _climb(approved, model) is None
    assert _document(approved).candidate is None


def test_without_a_policy_or_a_champion_there_is_nothing_to_climb(approved: Project) -> None:
    assert _climb(approved, approved.catalog.model(MODEL)) is None
    assert _document(approved).candidate is None


def test_the_first_version_of_a_model_has_nobody_to_be_compared_with(
    world: Project, trained: Receipt
) -> None:
    tiny.propose_version(world, trained, "2")
    for stage in ("staged", "approved"):
        record(world.ledger, move("2", stage, "good"), ACTOR)
    assert _climb(world, _model(world)) is None


def test_what_is_aborted_gets_no_more_requests_and_never_becomes_champion(approved: Project) -> None:
    model = _model(approved)
    _climb(approved, model)
    moved = abort(MODEL, "2", "it fails", approved.store, ACTOR)
    assert moved is not None
    assert (moved.event, moved.why) == ("aborted", "it fails")
    assert _document(approved).candidate is None
    assert abort(MODEL, "2", "again", approved.store, ACTOR) is None
    assert _climb(approved, model) is None
    assert promote(MODEL, "2", approved.store, ACTOR) is None
    assert {item.outcome for item in approved.state().trainings} == {"promoted", "aborted"}


def log_answers(world: Project, off: float, days: range = range(21, 24), as_of: int = 20) -> None:
    """Both versions answer trips: the champion well, the candidate off by so much."""
    trips = [trip for day in days for trip in tiny.trips(day).itertuples()]
    answers = [
        {
            "request_id": f"{version}-{trip.trip_id}",
            "key": trip.trip_id,
            "event_time": trip.at.to_pydatetime(),
            "version": version,
            "version_as_of": midnight(as_of),
            "score": abs((trip.delay >= 10) - far),
            "at": datetime.now(UTC),
        }
        for version, far in (("1", 0.1), ("2", off))
        for trip in trips
    ]
    log_predictions(world, answers)


def _judged(world: Project) -> Judgement:
    return judge_by_labels(_model(world), world.catalog.dataset("trips"), "2", world.store)


def test_a_version_that_errs_more_than_the_champion_is_found_by_labels_known_by_now(
    approved: Project,
) -> None:
    _climb(approved, _model(approved))
    log_answers(approved, 0.9)
    found = _judged(approved)
    assert found.stop
    assert "its squared error is higher by 0.800" in found.why
    assert found.findings[0].count == 180


def test_a_version_that_errs_as_the_champion_goes_on(approved: Project) -> None:
    _climb(approved, _model(approved))
    log_answers(approved, 0.15)
    found = _judged(approved)
    assert not found.stop
    assert found.findings[0].seen == pytest.approx(0.0125)


@pytest.mark.parametrize(
    ("days", "as_of"), [(range(24, 25), 20), (range(21, 22), 23)], ids=["not known", "seen in training"]
)
def test_labels_that_are_not_known_yet_or_were_known_to_a_version_say_nothing(
    approved: Project, days: range, as_of: int
) -> None:
    _climb(approved, _model(approved))
    log_answers(approved, 0.9, days, as_of)
    assert _judged(approved).why == "nothing counted yet"


def test_answers_from_before_a_version_came_into_traffic_say_nothing(approved: Project) -> None:
    log_answers(approved, 0.9)
    assert _judged(approved).findings == ()
    _climb(approved, _model(approved))
    assert _judged(approved).findings == ()
