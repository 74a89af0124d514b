from __future__ import annotations

import pytest

from include.serving.predictions import Target, target_of


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
