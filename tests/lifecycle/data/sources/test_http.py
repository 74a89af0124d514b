import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from include.lifecycle.data.sources import asking
from include.lifecycle.errors import Rejected, Transient
from include.lifecycle.spec.dataset import DatasetSpec
from tests.lifecycle.data.sources.reading import dataset, rows_of
from tests.servers import PASSWORD, Answer, Api, Asked

ROWS = [{"city": f"c{number}", "at": "2024-01-01T00:00:00Z", "rain": number} for number in range(5)]
CITIES = [row["city"] for row in ROWS]


def http(**source: Any) -> DatasetSpec:
    said = {"type": "http", "connection": "api", "path": "v1/sky/{start:%Y-%m-%d}"}
    return dataset(said | source)


def cities(spec: DatasetSpec, api: Api) -> list[str | None]:
    return [row["city"] for row in rows_of(spec, api.connection())]


def test_one_page_is_read_with_values_as_they_were_written() -> None:
    body = (
        '[{"a": 1.10, "b": "x\\"y", "c": true, "d": null, "e": {"f": [1.0]}}, {"a": 123456789012345678901}]'
    )
    with Api(lambda asked: Answer(body)) as api:
        found = rows_of(http(), api.connection())
    assert found == [
        {"a": "1.10", "b": 'x"y', "c": "true", "d": None, "e": '{"f": [1.0]}'},
        {"a": "123456789012345678901", "b": None, "c": None, "d": None, "e": None},
    ]
    assert [asked.path for asked in api.asked] == ["/v1/sky/2024-01-01"]


def test_the_partitions_bounds_are_asked_for() -> None:
    spec = http(
        path="sky", parameters={"from": "{start:%Y-%m-%dT%H:%MZ}", "to": "{end:%Y-%m-%d}", "all": "1"}
    )
    with Api(lambda asked: Answer(json.dumps(ROWS))) as api:
        rows_of(spec, api.connection())
    assert api.asked[0].query == {"from": "2024-01-01T00:00Z", "to": "2024-01-02", "all": "1"}


def test_pages_are_followed_by_a_cursor() -> None:
    def answer(asked: Asked) -> Answer:
        place = int(asked.query.get("after", 0))
        following = str(place + 2) if place + 2 < len(ROWS) else None
        return Answer(json.dumps({"data": {"items": ROWS[place : place + 2]}, "meta": {"next": following}}))

    spec = http(rows="data.items", pages={"by": "cursor", "path": "meta.next", "parameter": "after"})
    with Api(answer) as api:
        assert cities(spec, api) == CITIES
    assert len(api.asked) == 3


def test_pages_are_followed_by_an_offset() -> None:
    def answer(asked: Asked) -> Answer:
        place = int(asked.query.get("skip", 0))
        return Answer(json.dumps(ROWS[place : place + 2]))

    spec = http(parameters={"limit": "2"}, pages={"by": "offset", "parameter": "skip"})
    with Api(answer) as api:
        assert cities(spec, api) == CITIES
    assert [asked.query.get("skip") for asked in api.asked] == [None, "2", "4", "5"]
    assert all(asked.query["limit"] == "2" for asked in api.asked)


def test_pages_are_followed_by_the_link_header() -> None:
    def answer(asked: Asked) -> Answer:
        page = int(asked.query.get("page", 0))
        link = f'</v1/sky/2024-01-01?page={page + 1}>; rel="next", </first>; rel="first"'
        return Answer(json.dumps([ROWS[page]]), headers={"Link": link} if page < 4 else {})

    with Api(answer) as api:
        assert cities(http(pages={"by": "link"}), api) == CITIES


def test_a_link_to_another_host_does_not_get_the_credentials() -> None:
    link = {"Link": '<http://localhost:1/steal>; rel="next"'}
    with (
        Api(lambda asked: Answer(json.dumps(ROWS), headers=link)) as api,
        pytest.raises(Rejected, match=r"another host \(localhost\)"),
    ):
        rows_of(http(pages={"by": "link"}), api.connection())


@pytest.mark.parametrize(
    ("login", "extra", "header", "value"),
    [
        ("", {}, "Authorization", f"Bearer {PASSWORD}"),
        ("ada", {}, "Authorization", "Basic YWRhOmNvcnJlY3QtaG9yc2UtYmF0dGVyeQ=="),
        ("", {"X-Api-Key": "k1"}, "X-Api-Key", "k1"),
    ],
)
def test_credentials_come_from_the_connection(
    login: str, extra: dict[str, str], header: str, value: str
) -> None:
    with Api(lambda asked: Answer(json.dumps(ROWS))) as api:
        rows_of(http(), api.connection(login, **extra))
    assert api.asked[0].headers[header] == value


@pytest.fixture
def hiccups() -> Callable[[list[Answer]], Api]:
    def api(answers: list[Answer]) -> Api:
        left: Iterator[Answer] = iter(answers)
        return Api(lambda asked: next(left, Answer(json.dumps(ROWS))))

    return api


def test_a_hiccup_is_asked_again(hiccups: Callable[[list[Answer]], Api]) -> None:
    with hiccups([Answer("busy", 503), Answer("no", 500)]) as api:
        assert cities(http(), api) == CITIES
    assert len(api.asked) == 3


@pytest.mark.parametrize("asked_wait", ["2", "a date"])
def test_retry_after_is_honoured(hiccups: Callable[[list[Answer]], Api], asked_wait: str) -> None:
    after = asked_wait if asked_wait == "2" else formatdate(time.time() + 3, usegmt=True)
    with hiccups([Answer("slow down", 429, {"Retry-After": after})]) as api:
        started = time.monotonic()
        assert cities(http(), api) == CITIES
    assert time.monotonic() - started >= 1.9


def test_an_api_that_stays_down_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ATTEMPTS", 2)
    with (
        Api(lambda asked: Answer("busy", 503)) as api,
        pytest.raises(Transient, match=r"no answer after 2 attempts.*503.*retry when it is back"),
    ):
        rows_of(http(), api.connection())
    assert len(api.asked) == 2


def test_a_host_that_nobody_listens_on_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ATTEMPTS", 2)
    with Api(lambda asked: Answer()) as api:
        connection = api.connection()
    with pytest.raises(Transient, match="no answer after 2 attempts"):
        rows_of(http(), connection)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_rejected_without_the_password(status: int) -> None:
    with (
        Api(lambda asked: Answer(f"wrong: {asked.headers['Authorization']}", status)) as api,
        pytest.raises(Rejected, match=r"no right to read.*Admin, Connections") as caught,
    ):
        rows_of(http(), api.connection())
    assert PASSWORD not in str(caught.value)
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer("gone", 404), "answers 404.*mend source.path"),
        (Answer("", 302, {"Location": "/login"}), "answers 302"),
        (Answer('{"items": []}'), r"no list of rows in the answer"),
        (Answer('["a", "b"]'), "its rows are not JSON objects"),
    ],
)
def test_an_answer_that_is_not_a_list_of_rows_is_rejected(answer: Answer, words: str) -> None:
    with Api(lambda asked: answer) as api, pytest.raises(Rejected, match=words):
        rows_of(http(), api.connection())


def test_rows_that_lie_elsewhere_name_what_was_found() -> None:
    with (
        Api(lambda asked: Answer('{"items": [], "meta": {}}')) as api,
        pytest.raises(Rejected, match=r"no list of rows at 'data' \(found: items, meta\)"),
    ):
        rows_of(http(rows="data"), api.connection())


def test_a_page_that_unpacks_to_more_than_the_limit_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(asking, "LARGEST", 1 << 20)
    bomb = Answer(gzip.compress(b"[" + b" " * (8 << 20) + b"]"), headers={"Content-Encoding": "gzip"})
    with Api(lambda asked: bomb) as api, pytest.raises(Rejected, match="larger than 1 MB"):
        rows_of(http(), api.connection())


def test_what_is_asked_for_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    spec = http(parameters={"token": "in-the-url"})
    with Api(lambda asked: Answer(json.dumps(ROWS))) as api:
        rows_of(spec, api.connection())
    assert api.asked[0].query == {"token": "in-the-url"}
    assert "in-the-url" not in caplog.text
    assert PASSWORD not in caplog.text


def test_a_host_may_have_a_path_of_its_own() -> None:
    with Api(lambda asked: Answer(json.dumps(ROWS))) as api:
        plain = api.connection()
        for host in ("/v2", "/v2/", "", "/"):
            rows_of(http(), replace(plain, host=f"http://{plain.host}{host}"))
            rows_of(http(), replace(plain, host=f"http://{plain.host}:{plain.port}{host}", port=None))
            rows_of(http(), replace(plain, host=f"{plain.host}{host}"))
    found = [asked.path for asked in api.asked]
    assert found == ["/v2/v1/sky/2024-01-01"] * 6 + ["/v1/sky/2024-01-01"] * 6


@pytest.mark.parametrize("form", ["a number", "a date"])
def test_an_api_that_asks_for_a_long_wait_is_left_alone(form: str) -> None:
    after = "300" if form == "a number" else formatdate(time.time() + 300.9, usegmt=True)
    busy = Answer("slow down", 429, {"Retry-After": after})
    with (
        Api(lambda asked: busy) as api,
        pytest.raises(Transient, match=r"429 .*asked to wait (299|300|301) s, nothing was taken from it"),
    ):
        rows_of(http(), api.connection())
    assert len(api.asked) == 1
