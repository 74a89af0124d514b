from __future__ import annotations

from functools import reduce
from pathlib import Path

import pytest

from include.lifecycle.release.counts import Arm, Counts, Tally
from include.lifecycle.release.document import Release
from include.lifecycle.store.objects import Store
from include.serving.copies import Copies
from include.serving.refusals import NotServed, Refused
from tests.serving.answering_server import AnsweringServer
from tests.serving.released import MODEL, release_of, score

KEYS = [f"UA{number}" for number in range(40)]


def tally(*values: float) -> Tally:
    return reduce(Tally.with_value, values, Tally())


def by_key(server: AnsweringServer) -> dict[str, str]:
    return {key: server.ask({"flight_id": key})["version"] for key in KEYS}


def test_a_caller_stays_with_the_version_that_answered_first(
    server: AnsweringServer, releases: dict[str, Release]
) -> None:
    server.release(releases["1"], candidate=releases["2"], share=0.3)
    first = by_key(server)
    assert set(first.values()) == {"1", "2"}
    assert by_key(server) == first
    server.release(releases["1"], candidate=releases["2"], share=0.6)
    now = by_key(server)
    assert {key for key, version in first.items() if version == "2"} < {
        key for key, version in now.items() if version == "2"
    }


def test_without_a_key_the_request_id_decides(server: AnsweringServer, releases: dict[str, Release]) -> None:
    server.release(releases["1"], candidate=releases["2"], share=0.5)
    versions = {key: server.ask({}, request_id=key)["version"] for key in KEYS}
    assert set(versions.values()) == {"1", "2"}
    assert {key: server.ask({}, request_id=key)["version"] for key in KEYS} == versions


def test_all_rows_of_a_request_are_answered_by_the_version_of_the_first(
    server: AnsweringServer, releases: dict[str, Release], packages: dict[str, Path]
) -> None:
    server.release(releases["1"], candidate=releases["2"], share=0.5)
    versions = by_key(server)
    for first in KEYS[:8]:
        reply = server.ask({"flight_id": first}, *({"flight_id": key} for key in KEYS))
        assert reply["version"] == versions[first]
        assert reply["predictions"] == [score(packages[versions[first]])] * (1 + len(KEYS))


def test_a_shadow_answers_nobody_and_scores_a_copy_of_every_request(
    server: AnsweringServer, releases: dict[str, Release], packages: dict[str, Path]
) -> None:
    server.release(releases["1"], candidate=releases["2"], slow_seconds=60, slice_by="carrier")
    assert server.ask({"carrier": "UA"}, {"carrier": None})["version"] == "1"
    assert server.ask({"carrier": "DL"})["version"] == "1"
    counts = server.counts(compared=3)
    carriers = ("UA", None, "DL")
    champion, candidate = ([score(packages[v], carrier=c) for c in carriers] for v in "12")
    apart = [new - old for new, old in zip(candidate, champion, strict=True)]
    assert counts == Counts(
        champion=Arm(failed=tally(0, 0), slow=tally(0, 0), score=tally(*champion)),
        copies=Arm(failed=tally(0, 0), slow=tally(0, 0), score=tally(*candidate)),
        difference=tally(*map(abs, apart)),
        slices={name: tally((one + 1) / 2) for name, one in zip(("UA", "missing", "DL"), apart, strict=True)},
    )


def test_in_a_canary_both_versions_score_every_row(
    server: AnsweringServer, releases: dict[str, Release], packages: dict[str, Path]
) -> None:
    server.release(releases["1"], candidate=releases["2"], share=0.5, slice_by="carrier")
    versions = list(by_key(server).values())
    counts = server.counts(compared=len(KEYS))
    assert counts.champion.failed.count == counts.copies.failed.count == versions.count("1")
    assert counts.candidate.failed.count == counts.candidate.score.count == versions.count("2")
    assert counts.candidate.score.mean == pytest.approx(score(packages["2"]))
    # Whoever answered, it is candidate less champion.
    expected = (score(packages["2"]) - score(packages["1"]) + 1) / 2
    assert counts.slices["UA"].mean == pytest.approx(expected)


def test_counts_go_on_when_the_share_grows_and_begin_anew_with_another_candidate(
    server: AnsweringServer, store: Store, releases: dict[str, Release], packages: dict[str, Path]
) -> None:
    server.release(releases["1"], candidate=releases["2"])
    server.ask({})
    server.release(releases["1"], candidate=releases["2"], share=1.0)
    server.ask({})
    assert server.counts(compared=2).candidate.failed.count == 1
    server.release(releases["1"], candidate=release_of(packages["2"], "3", store))
    assert server.counts() == Counts()


@pytest.mark.parametrize(("bound", "slow"), [(0.0, 1.0), (60.0, 0.0)])
def test_a_request_is_slow_when_it_takes_longer_than_the_release_says(
    server: AnsweringServer, releases: dict[str, Release], bound: float, slow: float
) -> None:
    server.release(releases["1"], candidate=releases["2"], slow_seconds=bound)
    server.ask({})
    counts = server.counts(compared=1)
    assert (counts.champion.slow.total, counts.copies.slow.total) == (slow, slow)


def test_a_candidate_may_look_at_a_column_more(
    server: AnsweringServer, releases: dict[str, Release], more_packages: dict[str, Path]
) -> None:
    expected = score(more_packages["origin"], origin="JFK")
    server.release(releases["1"], candidate=releases["origin"], share=1.0, slice_by="origin")
    reply = server.ask({"origin": "JFK"})
    assert (reply["version"], reply["predictions"]) == ("2", [expected])
    server.release(releases["1"], candidate=releases["origin"], share=0.0, slice_by="origin")
    assert server.ask({"origin": "LGA"})["version"] == "1"
    assert set(server.counts(compared=2).slices) == {"JFK", "LGA"}


def test_a_champion_may_look_at_a_column_more(
    server: AnsweringServer, store: Store, releases: dict[str, Release], more_packages: dict[str, Path]
) -> None:
    champion = release_of(more_packages["origin"], "1", store)
    server.release(champion, candidate=releases["2"], share=1.0)
    assert server.ask({"origin": "JFK"})["version"] == "2"
    with pytest.raises(Refused, match="origin: missing"):
        server.ask({})
    assert server.counts(compared=1).candidate.failed.count == 1


def test_copies_too_many_are_dropped_and_counted(
    tmp_path: Path, store: Store, releases: dict[str, Release]
) -> None:
    copies = Copies(rows=2)
    server = AnsweringServer(tmp_path / "home", store, copies)
    server.release(releases["1"], candidate=releases["2"])
    for _ in range(5):
        assert server.ask({})["version"] == "1"
    assert server.metric("copies_dropped_total", model=MODEL) == 3
    copies.start()
    assert server.counts(compared=2).champion.failed.count == 5
    server.close()


def test_the_counts_of_a_model_without_a_candidate_are_not_found(
    server: AnsweringServer, releases: dict[str, Release]
) -> None:
    server.release(releases["1"])
    with pytest.raises(NotServed, match="delay has no candidate beside version 1"):
        server.answering.counts(MODEL)
