from __future__ import annotations

import pytest

from include.serving.head import Headers, Target, completed, target_of


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/invocations", Target("invocations")),
        ("/models/delay/invocations", Target("invocations", "delay")),
        ("/v2/models/delay/infer", Target("infer", "delay")),
        ("/v2/models/delay/versions/7/infer", Target("infer", "delay", "7")),
    ],
)
def test_a_path_says_what_is_to_predict(path: str, target: Target) -> None:
    assert target_of(path) == target


@pytest.mark.parametrize(
    "path",
    [
        *("/", "", "/invocations/", "invocations", "/metrics", "/models//invocations", "/models/delay/infer"),
        *("/v2/models//infer", "/v2/models/delay", "/v2/models/delay/infer/7"),
        "/v2/models/delay/versions//infer",
    ],
)
def test_every_other_path_is_left_to_the_application(path: str) -> None:
    assert target_of(path) is None


@pytest.mark.parametrize(
    ("query", "headers", "model"),
    [
        (b"", {}, None),
        (b"model=delay", {}, "delay"),
        (b"model=of%20two&model=delay", {b"x-model": b"tip"}, "delay"),
        (b"model=", {b"x-model": b"tip"}, "tip"),
        (b"models=delay", {b"x-model": b"tip"}, "tip"),
        (b"", {b"x-model": b""}, None),
    ],
)
def test_a_query_names_the_model_before_a_header_does(
    query: bytes, headers: Headers, model: str | None
) -> None:
    target = target_of("/invocations", query)
    assert target is not None
    assert completed(target, headers) == Target("invocations", model)


def test_nothing_else_names_the_model_that_a_path_names() -> None:
    target = target_of("/models/delay/invocations", b"model=tip")
    assert target is not None
    assert completed(target, {b"x-model": b"tip"}) == Target("invocations", "delay")
