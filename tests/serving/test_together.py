"""Requests that are read one after the other and answered with one prediction."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.release.document import Release
from include.lifecycle.store.objects import Store
from include.serving.answering import Alone, Answering, Reply
from include.serving.at_once import Asked, AtOnce, Whole
from include.serving.head import Target
from include.serving.prediction_log import PredictionLog
from include.serving.refusals import Refused
from tests.serving.answering_server import AnsweringServer
from tests.serving.released import MODEL, ROW, release_of, tensors

ANY = Target("invocations")


class Watched(Answering):
    """Remembers how many requests were answered together."""

    together: list[int]

    def replies(self, target: Target, asked: Sequence[tuple[bytes, str | None]]) -> list[Reply]:
        """As always."""
        found = super().replies(target, asked)
        self.together.append(len(asked))
        return found


def watched(server: AnsweringServer) -> Watched:
    answering = Watched(server.models, server.log, server.metrics, server.copies)
    answering.together = []
    return answering


def body(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"instances": [{**ROW, **changes} for changes in rows]}).encode()


def asked(content: bytes, request_id: str | None = None, target: Target = ANY) -> Asked:
    request = Asked(target, request_id, keep_alive=True)
    request.body += content
    return request


def in_one_turn(answering: Answering, requests: Sequence[Asked]) -> list[Whole]:
    """The replies to requests that all come before the loop turns."""
    return in_turns(answering, [requests])


def in_turns(answering: Answering, turns: Sequence[Sequence[Asked]]) -> list[Whole]:
    """The replies to requests of which some come in each turn of the loop."""

    async def ask() -> list[Whole]:
        at_once = AtOnce(answering, None, None)
        replies: dict[int, Whole] = {}
        numbers = count()
        for requests in turns:
            for request in requests:
                at_once.answer(request, partial(replies.__setitem__, next(numbers)))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return [replies[number] for number in sorted(replies)]

    return asyncio.run(ask())


def scores(reply: Whole | Reply) -> list[float]:
    found = json.loads(reply.body)
    return list(found["predictions"] if "predictions" in found else found["outputs"][0]["data"])


def logged(server: AnsweringServer, store: Store) -> dict[str, tuple[float, str]]:
    """Score and carrier by request, of the prediction log, where each row is once."""
    assert not server.log.flush(30)
    dataset = prediction_log(MODEL, store).dataset()
    assert dataset is not None
    rows = dataset.to_table(["request_id", "score", "inputs"]).to_pylist()
    found = {row["request_id"]: (row["score"], json.loads(row["inputs"])["carrier"]) for row in rows}
    assert len(found) == len(rows)
    return found


def test_each_caller_gets_the_scores_of_its_own_rows_and_they_are_logged_once(
    server: AnsweringServer, store: Store, releases: dict[str, Release]
) -> None:
    server.release(releases["1"])
    answering = watched(server)
    requests = {"a": [{"distance": 1.0}], "b": [{"carrier": "DL"}, {"carrier": None}], "c": [{"stops": None}]}
    replies = in_one_turn(answering, [asked(body(*rows), name) for name, rows in requests.items()])
    assert answering.together == [3]
    alone = [server.answering.reply(ANY, body(*rows), f"{name}-alone") for name, rows in requests.items()]
    assert [scores(reply) for reply in replies] == [scores(reply) for reply in alone]
    assert [dict(reply.headers)[b"x-request-id"] for reply in replies] == [b"a", b"b", b"c"]
    found = logged(server, store)
    (a,), (b, b2), (c,) = map(scores, replies)
    assert {name: row for name, row in found.items() if "alone" not in name} == {
        "a": (a, "UA"),
        "b/0": (b, "DL"),
        "b/1": (b2, None),
        "c": (c, "UA"),
    }
    of_version = {"model": MODEL, "version": "1"}
    assert server.metric("requests_total", **of_version, outcome="ok") == 6
    assert server.metric("rows_total", **of_version) == 8
    assert server.metric("request_seconds_count", **of_version) == 6


_VALUES = st.fixed_dictionaries(
    {},
    optional={
        "carrier": st.sampled_from(["UA", "DL", "ZZ", "", None, 5]),
        "distance": st.none()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False),
        "stops": st.sampled_from([0, 1, 2.0, 2.5, None]),
        "weekend": st.sampled_from([True, False, 1, None]),
        "time_hour": st.sampled_from(["2013-01-31T14:00:00+02:00", "never", None]),
        "flight_id": st.sampled_from(["UA1", None, {}]),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(_VALUES, min_size=1, max_size=3), min_size=2, max_size=6))
def test_together_or_alone_the_replies_are_the_same(
    server: AnsweringServer, releases: dict[str, Release], requests: list[list[dict[str, Any]]]
) -> None:
    if not server.models.followed:
        server.release(releases["1"])
    bodies = [body(*rows) for rows in requests]
    replies = in_one_turn(server.answering, [asked(content, "mine") for content in bodies])
    for reply, content in zip(replies, bodies, strict=True):
        (alone,) = in_one_turn(server.answering, [asked(content, "mine")])
        assert (reply.status, reply.body) == (alone.status, alone.body)


def test_one_bad_request_costs_the_others_nothing_and_counts_once(
    server: AnsweringServer, store: Store, releases: dict[str, Release]
) -> None:
    server.release(releases["1"])
    bad = body({}, {"distance": "far"})
    replies = in_one_turn(server.answering, [asked(body({}), "a"), asked(bad, "b"), asked(body({}), "c")])
    assert [reply.status for reply in replies] == [200, 400, 200]
    assert "distance: row 1: 'far' is not a number" in json.loads(replies[1].body)["error"]
    assert sorted(logged(server, store)) == ["a", "c"]
    assert server.metric("requests_total", model=MODEL, version="1", outcome="bad_input") == 1
    assert server.metric("requests_total", model=MODEL, version="1", outcome="ok") == 2


def test_a_request_that_breaks_the_model_breaks_no_other(
    server: AnsweringServer, store: Store, more_packages: dict[str, Path]
) -> None:
    server.release(release_of(more_packages["brittle"], "1", store))
    breaking = asked(body({"carrier": "XX"}), "b")
    replies = in_one_turn(server.answering, [asked(body({}), "a"), breaking, asked(body({}), "c")])
    assert [reply.status for reply in replies] == [200, 500, 200]
    assert sorted(logged(server, store)) == ["a", "c"]
    assert server.metric("requests_total", model=MODEL, version="1", outcome="model_error") == 1


def test_rows_that_only_fit_together_are_refused(
    server: AnsweringServer, releases: dict[str, Release]
) -> None:
    server.release(releases["1"])
    columns = {name: [value] for name, value in ROW.items()}
    longer, shorter = {**columns, "stops": [1, 2]}, {**columns, "carrier": ["UA", "DL"]}
    bodies = [json.dumps({"inputs": each}).encode() for each in (longer, shorter)]
    assert [reply.status for reply in in_one_turn(server.answering, list(map(asked, bodies)))] == [400, 400]
    nothing = json.dumps({"inputs": {name: [] for name in ROW}}).encode()
    for bodies in ([body({}), nothing], [nothing, nothing]):
        replies = in_one_turn(server.answering, list(map(asked, bodies)))
        assert replies[1].status == 400
        assert "no rows" in json.loads(replies[1].body)["error"]
    with_key = [body({"flight_id": "UA1"}), body({})]
    assert [reply.status for reply in in_one_turn(server.answering, list(map(asked, with_key)))] == [200, 200]


def test_nothing_is_kept_of_requests_that_are_not_answered_together(
    server: AnsweringServer, store: Store, releases: dict[str, Release]
) -> None:
    server.release(releases["1"])
    server.answering.reply(ANY, body({}), "before")
    with pytest.raises(Refused):
        server.answering.replies(ANY, [(body({}), "a"), (b"{", "b")])
    server.release(releases["1"], candidate=releases["2"], share=0.5)
    with pytest.raises(Alone):
        server.answering.replies(ANY, [(body({}), "a"), (body({}), "b")])
    assert list(logged(server, store)) == ["before"]


def test_while_a_candidate_is_tried_each_caller_is_split_for_itself(
    server: AnsweringServer, releases: dict[str, Release]
) -> None:
    server.release(releases["1"], candidate=releases["2"], share=0.5)
    names = [f"request-{number}" for number in range(40)]
    replies = in_one_turn(server.answering, [asked(body({}), name) for name in names])
    versions = [dict(reply.headers)[b"x-model-version"].decode() for reply in replies]
    assert set(versions) == {"1", "2"}
    assert server.counts(compared=40).candidate.score.count == versions.count("2")
    assert {name: version for name, (_, version) in server.arms().items()} == dict(
        zip(names, versions, strict=True)
    )


def test_those_who_ask_for_the_same_are_answered_together_up_to_a_number(
    server: AnsweringServer, releases: dict[str, Release]
) -> None:
    server.release(releases["1"])
    answering, tensor = watched(server), json.dumps(tensors()).encode()
    of_tensors = [asked(tensor, target=Target("infer", MODEL)) for _ in range(3)]
    replies = in_one_turn(answering, [asked(body({})) for _ in range(20)] + of_tensors)
    assert answering.together == [16, 4, 3]
    assert {reply.status for reply in replies} == {200}
    many = body(*[{}] * 300)
    assert len(many) * 2 < 64 << 10 < len(many) * 3
    answering.together.clear()
    in_one_turn(answering, [asked(many) for _ in range(4)])
    assert answering.together == [2, 2]


def test_those_who_come_while_others_are_read_are_answered_with_them(
    server: AnsweringServer, releases: dict[str, Release]
) -> None:
    server.release(releases["1"])
    answering = watched(server)
    one, two, nobody = [asked(body({}))], [asked(body({})), asked(body({}))], list[Asked]()
    assert len(in_turns(answering, [two, one, one, nobody, two, one])) == 7
    assert answering.together == [4, 3]


def test_nobody_waits_long_for_others_who_come(server: AnsweringServer, releases: dict[str, Release]) -> None:
    server.release(releases["1"])
    at_once = AtOnce(server.answering, None, None)

    async def most_that_wait() -> int:
        replies: list[Whole] = []
        waiting = []
        for number in range(1, 41):
            at_once.answer(asked(body({})), replies.append)
            await asyncio.sleep(0)
            waiting.append(number - len(replies))
        return max(waiting)

    assert asyncio.run(most_that_wait()) == 15


def test_nobody_is_asked_about_for_a_caller_who_went_away(
    server: AnsweringServer, store: Store, releases: dict[str, Release]
) -> None:
    server.release(releases["1"])
    gone = asked(body({}), "gone")
    gone.disconnected = True
    assert len(in_one_turn(server.answering, [asked(body({}), "a"), gone, asked(body({}), "c")])) == 2
    assert sorted(logged(server, store)) == ["a", "c"]


def test_where_nothing_can_be_logged_nobody_is_answered(
    server: AnsweringServer, releases: dict[str, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(log: PredictionLog, model: str, lines: bytes, rows: int) -> None:
        raise OSError("no space left")

    server.release(releases["1"])
    monkeypatch.setattr(PredictionLog, "record", full)
    replies = in_one_turn(server.answering, [asked(body({})) for _ in range(3)])
    assert [reply.status for reply in replies] == [503] * 3
    assert server.metric("requests_total", model=MODEL, version="1", outcome="log_error") == 3
