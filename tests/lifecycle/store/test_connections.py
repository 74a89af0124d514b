"""Connections are read from the environment as Airflow itself reads and writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk._shared.secrets_masker import DEFAULT_SENSITIVE_FIELDS, SecretsMasker
from airflow.sdk.definitions.connection import Connection as Airflows

from include.lifecycle.errors import Rejected
from include.lifecycle.store.connections import environment_connection

EXTRAS: list[dict[str, Any]] = [
    {},
    {"region_name": "eu-west-1"},
    {"secret_keys": {"2024": "an older key, of old", "2025": "ä&=/?"}},
    {"nested": {"list": [1, None]}, "flag": True},
]


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_uri_that_airflow_writes_is_read_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    written = Airflows(
        conn_id="people",
        conn_type="generic",
        host="db",
        login="k/1",
        password="p@:w",
        extra=json.dumps(extra),
    )
    monkeypatch.setenv("AIRFLOW_CONN_PEOPLE", written.get_uri())
    found = environment_connection("people")
    assert (found.host, found.login, found.password, found.extra) == ("db", "k/1", "p@:w", extra)


@pytest.mark.parametrize("uri", ["generic://h/?__extra__=no+json", "generic://h/?__extra__=3"])
def test_an_extra_that_is_no_json_is_refused(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PEOPLE", uri)
    with pytest.raises(Rejected, match="AIRFLOW_CONN_PEOPLE is neither JSON nor a URI"):
        environment_connection("people")


def test_airflow_masks_the_keys_of_an_extra() -> None:
    extra = {"secret_keys": {"2025": "an older key"}, "region_name": "here"}
    masker = SecretsMasker()
    masker.sensitive_variables_fields = list(DEFAULT_SENSITIVE_FIELDS)
    assert masker.redact(extra) == {"secret_keys": {"2025": "***"}, "region_name": "here"}
