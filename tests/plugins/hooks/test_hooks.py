import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from mlops.hooks.registry import RegistryHook
from mlops.hooks.server import ServerHook
from mlops.hooks.store import StoreHook

from tests.lifecycle.tiny import Project


class _Server(BaseHTTPRequestHandler):
    """A model server that answers with version 3 of `late`, and knows no other model."""

    def do_GET(self) -> None:
        known = self.path == "/v2/models/late"
        body = json.dumps({"versions": ["3"]} if known else {"error": "unknown"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def model_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = HTTPServer(("127.0.0.1", 0), _Server)
    Thread(target=server.serve_forever, daemon=True).start()
    connection = {"conn_type": "http", "host": "127.0.0.1", "port": server.server_port}
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_SERVER", json.dumps(connection))
    yield
    server.shutdown()
    server.server_close()


def test_the_store_is_the_one_that_the_environment_names(project: Project) -> None:
    store = StoreHook().get_conn()
    assert store.uri == project.store.uri
    assert store.options == {}


def test_credentials_come_from_the_connection(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {
        "conn_type": "aws",
        "login": "key",
        "password": "secret",
        "extra": {"endpoint_url": "http://s3", "region_name": "here"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_STORE", json.dumps(connection))
    assert StoreHook().get_conn().options == {
        "aws_access_key_id": "key",
        "aws_secret_access_key": "secret",
        "aws_endpoint_url": "http://s3",
        "aws_region": "here",
    }


def test_mlflow_is_where_the_connection_says(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "http", "host": "mlflow.here", "port": 5001, "schema": "https"}
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_MLFLOW", json.dumps(connection))
    assert RegistryHook().url == "https://mlflow.here:5001"


@pytest.mark.usefixtures("model_server")
def test_the_server_says_with_which_version_it_answers() -> None:
    assert ServerHook().champion("late") == "3"
    assert ServerHook().champion("unknown") is None
