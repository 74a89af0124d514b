from __future__ import annotations

import json

import pytest

from include.lifecycle.release.counts import Counts
from include.lifecycle.release.document import Release
from include.serving.head import Target
from include.serving.refusals import NotServed, Refused
from tests.serving.answering_server import AnsweringServer
from tests.serving.released import MODEL, tensors


def test_who_names_a_version_gets_it_and_counts_nowhere(
    server: AnsweringServer, releases: dict[str, Release]
) -> None:
    body = json.dumps(tensors()).encode()
    server.release(releases["1"], candidate=releases["2"], share=0.5)
    for version in ("1", "2"):
        reply = server.answering.reply(Target("infer", MODEL, version), body, f"for {version}")
        assert json.loads(reply.body)["model_version"] == version
    with pytest.raises(NotServed, match="version '3' of delay is not served; served are: 1, 2"):
        server.answering.reply(Target("infer", MODEL, "3"), body, None)
    assert server.arms() == {"for 1": ("champion", "1"), "for 2": ("canary", "2")}
    assert server.counts() == Counts()


def test_who_names_a_candidate_is_told_what_it_does_not_take(
    server: AnsweringServer, releases: dict[str, Release]
) -> None:
    server.release(releases["1"], candidate=releases["origin"], share=1.0)
    with pytest.raises(Refused, match="origin: missing"):
        server.answering.reply(Target("infer", MODEL, "2"), json.dumps(tensors()).encode(), None)
    assert server.metric("requests_total", model=MODEL, version="2", outcome="bad_input") == 1
