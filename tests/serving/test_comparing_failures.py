"""Whatever a candidate does, its callers get what they would get without it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from include.lifecycle.release.counts import Arm, Counts
from include.lifecycle.release.document import Release
from include.lifecycle.store.objects import Store
from include.serving.head import Target
from include.serving.refusals import ModelFailed, NotLogged, Refused
from tests.serving.answering_server import AnsweringServer
from tests.serving.released import MODEL, ROW, make_package, release_of, score, tensors
from tests.serving.running import wait_until


def test_what_the_candidate_breaks_on_the_champion_answers(
    server: AnsweringServer,
    releases: dict[str, Release],
    packages: dict[str, Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.release(releases["1"], candidate=releases["brittle"], share=1.0)
    assert server.ask({"carrier": "UA"}, request_id="good")["version"] == "2"
    with caplog.at_level(logging.ERROR):
        for request_id in ("bad", "worse"):
            reply = server.ask({"carrier": "XX"}, request_id=request_id)
            assert (reply["version"], reply["predictions"]) == ("1", [score(packages["1"], carrier="XX")])
    counts = server.counts(compared=1)
    assert (counts.candidate.failed.total, counts.candidate.failed.count) == (2, 3)
    assert (counts.candidate.score.count, counts.champion) == (1, Arm())
    assert server.arms() == {"good": ("canary", "2"), "bad": ("champion", "1"), "worse": ("champion", "1")}
    assert server.metric("candidate_failures_total", model=MODEL) == 2
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert errors == [f"{MODEL}: candidate 2 failed"]


def test_a_copy_that_the_candidate_breaks_on_is_counted(
    server: AnsweringServer, releases: dict[str, Release]
) -> None:
    server.release(releases["1"], candidate=releases["brittle"])
    server.ask({"carrier": "XX"})
    server.ask({"carrier": "UA"})
    counts = server.counts(compared=1)
    assert (counts.copies.failed.total, counts.copies.failed.count) == (1, 2)
    assert (counts.copies.score.count, counts.champion.failed.total) == (1, 0)
    assert server.metric("candidate_failures_total", model=MODEL) == 1


def test_what_the_champion_breaks_on_the_candidate_scores_as_a_copy(
    server: AnsweringServer, store: Store, releases: dict[str, Release], more_packages: dict[str, Path]
) -> None:
    brittle = release_of(more_packages["brittle"], "1", store)
    server.release(brittle, candidate=releases["2"])
    with pytest.raises(ModelFailed):
        server.ask({"carrier": "XX"})
    wait_until(lambda: server.counts().copies.failed.count, "the copy is scored")
    counts = server.counts()
    assert (counts.champion.failed.total, counts.copies.failed.total) == (1, 0)
    assert (counts.champion.score.count, counts.difference.count) == (0, 0)


def test_a_request_that_breaks_both_failed_for_the_version_whose_it_was(
    server: AnsweringServer, store: Store, releases: dict[str, Release], more_packages: dict[str, Path]
) -> None:
    brittle = release_of(more_packages["brittle"], "1", store)
    server.release(brittle, candidate=releases["brittle"], share=1.0)
    with pytest.raises(ModelFailed):
        server.ask({"carrier": "XX"})
    assert (server.counts().candidate.failed.total, server.counts().champion) == (1, Arm())


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_what_a_caller_does_wrong_counts_nowhere(
    server: AnsweringServer, releases: dict[str, Release], share: float
) -> None:
    server.release(releases["1"], candidate=releases["origin"], share=share)
    for body in (b"{", b'{"instances": [{}]}', json.dumps({"instances": [{**ROW, "stops": "no"}]}).encode()):
        with pytest.raises(Refused):
            server.answering.reply(Target("invocations", MODEL), body, "mine")
    with pytest.raises(Refused, match="carrier: row 1: dict is not a string"):
        server.ask({}, {"carrier": {}})
    assert server.counts() == Counts()


def test_an_answer_that_cannot_be_logged_counts_nowhere(
    server: AnsweringServer, releases: dict[str, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(model: str, lines: bytes, rows: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(server.log, "record", full)
    for share in (0.0, 1.0):
        server.release(releases["1"], candidate=releases["2"], share=share)
        with pytest.raises(NotLogged):
            server.ask({})
    assert server.counts() == Counts()


@pytest.mark.parametrize(
    "rows",
    [
        [{}],
        [{"origin": 7}],
        [{"origin": "JFK"}, {}],
    ],
    ids=["missing", "of another type", "missing in one row"],
)
def test_a_column_that_the_candidate_alone_minds_is_its_failure(
    server: AnsweringServer, releases: dict[str, Release], rows: list[dict[str, object]]
) -> None:
    server.release(releases["1"], candidate=releases["origin"], share=1.0)
    assert server.ask(*rows)["version"] == "1"
    server.release(releases["1"], candidate=releases["origin"], share=0.0)
    assert server.ask(*rows)["version"] == "1"
    wait_until(lambda: server.counts().copies.failed.count, "the copy is scored")
    counts = server.counts()
    assert (counts.candidate.failed.total, counts.copies.failed.total) == (1, 1)


def test_a_tensor_that_the_candidate_alone_minds_is_its_failure(
    server: AnsweringServer, releases: dict[str, Release]
) -> None:
    server.release(releases["1"], candidate=releases["origin"], share=1.0)
    for origin in ({"shape": [2], "data": ["JFK", "LGA"]}, {"shape": [1], "data": [1]}):
        tensor = {"name": "origin", "datatype": "BYTES", **origin}
        body = json.dumps({"inputs": [*tensors()["inputs"], tensor]}).encode()
        reply = server.answering.reply(Target("infer", MODEL), body, None)
        assert json.loads(reply.body)["model_version"] == "1"
    assert server.counts().candidate.failed.total == 2


def test_other_rows_in_the_columns_of_the_candidate_alone_are_its_failure(
    tmp_path: Path, server: AnsweringServer, store: Store
) -> None:
    def release(version: str, name: str, kind: str) -> Release:
        code = f"def features(rows): return {{'{name}': rows['{name}']}}".encode()
        package = make_package(tmp_path / name, seed=1, features=code, inputs={name: kind})
        return release_of(package, version, store)

    champion, candidate = release("1", "distance", "number"), release("2", "origin", "string")
    server.release(champion, candidate=candidate, share=1.0)
    body = json.dumps({"inputs": {"distance": [1.0], "origin": ["JFK", "LGA"]}}).encode()
    reply = json.loads(server.answering.reply(Target("invocations", MODEL), body, "mine").body)
    assert (reply["version"], len(reply["predictions"])) == ("1", 1)
    assert server.counts().candidate.failed.total == 1
