from datetime import UTC, datetime, timedelta

import pytest

from include.lifecycle.release.counts import Arm, Counts, Tally
from include.lifecycle.release.ladder import next_rung, rung_of, rungs
from include.lifecycle.release.state import Stage, Standing
from include.lifecycle.spec.release import Canary, ReleasePolicy, Shadow

POLICY = ReleasePolicy(
    shadow=Shadow(duration=timedelta(minutes=2), rows=40), canary=Canary(shares=(0.1, 0.5, 1), requests=30)
)


def _at(stage: Stage, share: float = 0) -> Standing:
    return Standing(stage=stage, share=share, since=datetime.now(UTC))


def test_a_policy_without_shadow_and_canary_has_no_rungs() -> None:
    assert rungs(ReleasePolicy()) == []
    assert next_rung(ReleasePolicy(), _at("approved")) is None


@pytest.mark.parametrize(
    ("standing", "following"),
    [
        (_at("approved"), ("shadow", 0)),
        (_at("shadow"), ("canary", 0.1)),
        (_at("canary", 0.1), ("canary", 0.5)),
        (_at("canary", 0.2), ("canary", 0.5)),
        (_at("canary", 0.5), ("canary", 1)),
        (_at("canary", 1), None),
    ],
)
def test_a_version_climbs_rung_by_rung(standing: Standing, following: tuple[str, float] | None) -> None:
    rung = next_rung(POLICY, standing)
    assert (rung and (rung.stage, rung.share)) == following


def test_whoever_takes_over_finds_the_rung_that_the_ledger_names() -> None:
    for rung in rungs(POLICY):
        assert rung_of(POLICY, _at(rung.stage, rung.share)) == rung
    assert rung_of(POLICY, _at("staged")) is None
    assert rung_of(POLICY, _at("canary", 0.2)) is None


def test_a_rung_has_seen_enough_when_so_many_rows_or_requests_were_counted() -> None:
    counts = Counts(candidate=Arm(failed=Tally(count=60)), difference=Tally(count=40))
    assert [(rung.seen(counts), rung.enough) for rung in rungs(POLICY)] == [
        (40, 40),
        (60, 30),
        (60, 60),
        (60, 90),
    ]
