from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from include.lifecycle.monitor.performance import prediction_log
from include.lifecycle.release.counts import ServerCounts
from include.lifecycle.store.objects import Store
from include.serving.head import MAX_BODY
from tests.serving.released import MODEL, ROW, publish, release_of, score, tensors
from tests.serving.running import RunningServer, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, packages: dict[str, Path]) -> Iterator[RunningServer]:
    """Serves `delay`; `early` has no champion yet, `tried` has a candidate, `broken` one without files."""
    folder = tmp_path_factory.mktemp("app")
    store = Store(str(folder / "store"))
    publish(store, release_of(packages["1"], "1", store))
    publish(store, None, model="early")
    releases = [release_of(packages[version], version, store) for version in "12"]
    publish(store, releases[0], model="tried", candidate=releases[1], share=1.0)
    without_files = releases[1].model_copy(update={"package": {}})
    publish(store, releases[0], model="broken", candidate=without_files, share=1.0)
    with RunningServer(folder / "home", store.uri) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"X-Model": MODEL}) as client:
        yield client


def test_both_protocols_give_the_number_that_the_predictor_gives(
    client: httpx.Client, packages: dict[str, Path]
) -> None:
    expected = score(packages["1"])
    reply = client.post("/invocations", json={"dataframe_records": [ROW]})
    assert reply.status_code == 200
    assert reply.json()["predictions"] == [expected]
    reply = client.post(f"/v2/models/{MODEL}/infer", json=tensors(rows=2))
    assert reply.json()["outputs"] == [
        {"name": "score", "datatype": "FP64", "shape": [2], "data": [expected, expected]}
    ]


def test_a_reply_says_who_gave_it_and_to_which_request(client: httpx.Client) -> None:
    body = {"instances": [ROW]}
    reply = client.post("/invocations", json=body, headers={"X-Request-Id": "mine"})
    assert {"model": MODEL, "version": "1", "request_id": "mine"}.items() <= reply.json().items()
    headers = {"x-model": MODEL, "x-model-version": "1", "x-request-id": "mine"}
    assert headers.items() <= dict(reply.headers).items()
    own = client.post("/invocations", json=body).headers["X-Request-Id"]
    assert len(own) == 32
    reply = client.post(f"/v2/models/{MODEL}/infer", json={**tensors(), "id": "of the body"})
    assert reply.json()["id"] == reply.headers["X-Request-Id"] == "of the body"
    assert (reply.json()["model_name"], reply.json()["model_version"]) == (MODEL, "1")


def test_a_model_is_chosen_by_path_query_or_header(client: httpx.Client, server: RunningServer) -> None:
    body = {"instances": [ROW]}
    assert client.post(f"/models/{MODEL}/invocations", json=body).status_code == 200
    assert httpx.post(f"{server.url}/invocations?model={MODEL}", json=body).status_code == 200
    reply = httpx.post(f"{server.url}/invocations", json=body)
    assert reply.status_code == 400
    assert "choose with /models/<name>/invocations" in reply.json()["error"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b'{"instances": [{"distance": NaN}]}', "JSON is malformed"),
        (b'{"instances": [{"distance": Infinity}]}', "JSON is malformed"),
        (b'{"instances": [{"distance": 1e999}]}', "out of range"),
        (b'{"instances": [{"carrier": "\xff"}]}', "body: not UTF-8"),
        (b"[" * 50_000 + b"]" * 50_000, ""),
        (b'{"instances": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", ""),
        (b'{"instances": [{"flight_id": ' + b"9" * 5_000 + b"}]}", ""),
        (b"null", "Expected `object`"),
    ],
)
def test_malformed_json_is_a_400_in_both_protocols(client: httpx.Client, content: bytes, words: str) -> None:
    for path in ("/invocations", f"/v2/models/{MODEL}/infer"):
        reply = client.post(path, content=content.replace(b"instances", b"inputs"))
        assert reply.status_code == 400
        assert list(reply.json()) == ["error"]
        if "v2" not in path:
            assert words in reply.json()["error"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"distance": "far"}, "distance"),
        ({"carrier": 7}, "carrier"),
        ({"stops": 1.5}, "stops"),
        ({"weekend": "no"}, "weekend"),
        ({"time_hour": "tomorrow"}, "time_hour"),
        ({"flight_id": {}}, "flight_id"),
        ({"distance": int("9" * 400)}, "distance"),
    ],
)
def test_a_bad_value_is_a_400_that_names_the_field(
    client: httpx.Client, changes: dict[str, Any], field: str
) -> None:
    reply = client.post("/invocations", json={"dataframe_records": [{**ROW, **changes}]})
    assert reply.status_code == 400
    assert field in reply.json()["error"]


def test_text_that_is_no_text_is_refused_or_answered_but_no_server_error(client: httpx.Client) -> None:
    content = json.dumps({"instances": [{**ROW, "carrier": "\ud800", "flight_id": "\udfff"}]})
    assert client.post("/invocations", content=content).status_code in (200, 400)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/models/nobody/invocations", 404, "no model 'nobody'; released are: broken, delay, early, tried"),
        ("/v2/models/nobody/infer", 404, "no model 'nobody'"),
        ("/v2/models/delay/versions/9/infer", 404, "version '9' of delay is not served; served are: 1"),
        ("/models/early/invocations", 503, "model early has no champion to answer with: approve"),
        ("/nowhere", 404, "POST /nowhere: Not Found"),
        ("/metrics", 405, "Method Not Allowed"),
    ],
)
def test_what_is_not_there_is_told(client: httpx.Client, path: str, status: int, words: str) -> None:
    reply = client.post(path, json={"instances": [ROW]})
    assert reply.status_code == status
    assert words in reply.json()["error"]


def test_the_routes_that_predict_take_nothing_but_a_post(client: httpx.Client) -> None:
    for path in ("/invocations", f"/models/{MODEL}/invocations", f"/v2/models/{MODEL}/versions/1/infer"):
        reply = client.get(path)
        assert reply.status_code == 405
        assert reply.headers["Allow"] == "POST"


def test_the_served_version_can_be_asked_for(client: httpx.Client) -> None:
    assert client.post(f"/v2/models/{MODEL}/versions/1/infer", json=tensors()).status_code == 200


def test_a_body_over_the_limit_is_a_413_also_when_its_length_is_not_told(client: httpx.Client) -> None:
    big = b"x" * (MAX_BODY + 1)
    for content in (big, iter([big[: MAX_BODY // 2], big[MAX_BODY // 2 :]])):
        reply = client.post("/invocations", content=content)
        assert reply.status_code == 413
        assert "10 MB" in reply.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/csv"},
        {"Content-Encoding": "gzip"},
        {"Inference-Header-Content-Length": "10"},
    ],
)
def test_a_format_that_is_not_read_is_a_415(client: httpx.Client, headers: dict[str, str]) -> None:
    assert client.post("/invocations", content=b"{}", headers=headers).status_code == 415


def test_a_request_id_must_be_plain(client: httpx.Client) -> None:
    reply = client.post("/invocations", json={"instances": [ROW]}, headers={"X-Request-Id": "a" * 201})
    assert reply.status_code == 400
    assert "X-Request-Id" in reply.json()["error"]


def test_many_rows_are_answered_in_order(client: httpx.Client, packages: dict[str, Path]) -> None:
    distances = [100.0 + number for number in range(2_000)]
    rows = [{**ROW, "distance": distance} for distance in distances]
    found = client.post("/invocations", json={"dataframe_records": rows}, timeout=30).json()["predictions"]
    assert [found[0], found[1_999]] == [score(packages["1"], distance=d) for d in (100.0, 2_099.0)]


def test_each_row_is_in_the_log_once_with_its_key_and_event_time(
    client: httpx.Client, server: RunningServer
) -> None:
    rows = [{**ROW, "flight_id": f"UA{number}"} for number in range(2)]
    client.post("/invocations", json={"inputs": rows}, headers={"X-Request-Id": "pair"})
    client.post("/invocations", json={"inputs": [ROW]}, headers={"X-Request-Id": "single"})
    server.flush()
    dataset = prediction_log(MODEL, Store(str(server.home.parent / "store"))).dataset()
    assert dataset is not None
    found = dataset.to_table(["request_id", "key", "event_time", "inputs"]).to_pylist()
    ours = {row["request_id"]: row for row in found if row["request_id"][:4] in ("pair", "sing")}
    assert len(found) == len({row["request_id"] for row in found})
    assert {name: row["key"] for name, row in ours.items()} == {
        "pair/0": "UA0",
        "pair/1": "UA1",
        "single": None,
    }
    assert json.loads(ours["single"]["inputs"]) == ROW
    assert ours["single"]["event_time"].isoformat() == "2013-01-31T14:00:00+00:00"


def test_the_metrics_count_requests_by_outcome_and_rows(client: httpx.Client, server: RunningServer) -> None:
    def counted(outcome: str) -> float:
        labels = f'{{model="{MODEL}",outcome="{outcome}",version="1"}}'
        return server.metric(f"perennial_requests_total{labels}") or 0.0

    version = f'{{model="{MODEL}",version="1"}}'
    client.post("/invocations", json={"instances": [ROW]})
    good, bad = counted("ok"), counted("bad_input")
    rows = server.metric(f"perennial_rows_total{version}") or 0.0
    client.post("/invocations", json={"instances": [ROW, ROW]})
    client.post("/invocations", json={"instances": [{}]})
    client.post("/invocations", content=b"x" * (MAX_BODY + 1))
    assert (counted("ok"), counted("bad_input")) == (good + 1, bad + 2)
    assert server.metric(f"perennial_rows_total{version}") == rows + 2
    assert server.metric(f"perennial_request_seconds_count{version}") == good + 1
    wait_until(
        lambda: server.metric(f'perennial_log_backlog_rows{{model="{MODEL}"}}') == 0, "all is in Delta"
    )


def test_a_name_that_a_caller_made_up_is_no_label(client: httpx.Client, server: RunningServer) -> None:
    client.post("/models/made-up/invocations", json={})
    assert "made-up" not in client.get("/metrics").text
    assert server.metric('perennial_requests_total{model="",outcome="not_found",version=""}')


def test_who_goes_away_before_its_body_is_whole_leaves_no_failure_in_the_log(
    client: httpx.Client, server: RunningServer
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as caller:
        caller.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    assert client.post("/invocations", json={"instances": [ROW]}).status_code == 200
    assert "Traceback" not in server.log.read_text()


def test_health_and_metadata_follow_the_open_inference_protocol(client: httpx.Client) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/ping", f"/v2/models/{MODEL}/ready"):
        assert client.get(path).status_code == 200
    assert client.get("/v2/models/early/ready").status_code == 503
    assert client.get("/v2").json()["models"] == ["broken", MODEL, "early", "tried"]
    metadata = client.get(f"/v2/models/{MODEL}").json()
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"][1] == {"name": "distance", "datatype": "FP64", "shape": [-1]}
    assert metadata["parameters"]["trouble"] is None


def test_both_versions_are_told_while_one_is_tried(client: httpx.Client) -> None:
    metadata = client.get("/v2/models/tried").json()
    assert metadata["versions"] == ["1", "2"]
    told = {"version": "1", "candidate": "2", "share": 1.0, "trouble": None}
    assert told.items() <= metadata["parameters"].items()
    assert client.get("/v2/models/tried/versions/2").json()["parameters"]["version"] == "2"
    assert client.get("/v2/models/tried/versions/2/ready").status_code == 200


def test_a_server_is_ready_when_its_champions_answer_also_with_a_broken_candidate(
    client: httpx.Client,
) -> None:
    assert client.get("/v2/health/ready").status_code == 200
    assert client.post("/models/broken/invocations", json={"instances": [ROW]}).json()["version"] == "1"
    assert "candidate: version 2" in client.get("/v2/models/broken").json()["parameters"]["trouble"]
    assert "candidate: version 2" in client.get("/v2/models/broken/counts").json()["error"]


def test_a_judge_reads_what_one_process_counted(client: httpx.Client) -> None:
    assert client.post("/models/tried/invocations", json={"instances": [ROW]}).json()["version"] == "2"
    reply = client.post("/v2/models/tried/infer", json=tensors(rows=3))
    assert reply.headers["X-Model-Version"] == reply.json()["model_version"] == "2"

    def counted() -> ServerCounts:
        return ServerCounts.model_validate_json(client.get("/v2/models/tried/counts").content)

    wait_until(lambda: counted().counts.difference.count == 4, "all rows are compared")
    found = counted()
    assert (found.model, found.champion, found.candidate) == ("tried", "1", "2")
    assert (found.counts.candidate.failed.count, found.counts.candidate.score.count) == (2, 4)
    assert found.process == counted().process


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        (MODEL, 404, "delay has no candidate beside version 1"),
        ("nobody", 404, "no model 'nobody'"),
        ("early", 503, "model early has no champion"),
    ],
)
def test_where_nothing_is_compared_there_are_no_counts(
    client: httpx.Client, model: str, status: int, words: str
) -> None:
    reply = client.get(f"/v2/models/{model}/counts")
    assert reply.status_code == status
    assert words in reply.json()["error"]
