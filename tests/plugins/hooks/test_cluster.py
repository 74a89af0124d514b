import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from mlops.hooks.cluster import ClusterHook

from include.lifecycle.errors import Conflict, LifecycleError, Rejected, Transient

BUDGET: dict[str, Any] = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "model-server", "namespace": "here"},
}
PATH = "/apis/policy/v1/namespaces/here/poddisruptionbudgets/model-server"


@dataclass
class Api:
    """An API server that gives one answer, and remembers what it was asked."""

    status: int = 200
    asked: list[Any] = field(default_factory=list)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            api.asked.append((self.command, parts.path, dict(parse_qsl(parts.query)), body))
            said = json.dumps({"message": "what the cluster says"}).encode()
            self.send_response(api.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_PATCH = do_POST = _answer

        def log_message(self, *said: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(tmp_path / "kubeconfig")}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
    yield api
    server.shutdown()
    server.server_close()


def test_objects_are_applied_under_our_own_name(api: Api) -> None:
    ClusterHook().apply(BUDGET, dry_run=True)
    ClusterHook().apply(BUDGET)
    (command, path, told, body), (_, _, for_real, _) = api.asked
    assert (command, path, json.loads(body)) == ("PATCH", PATH, BUDGET)
    assert told == {"fieldManager": "perennial", "force": "true", "dryRun": "All"}
    assert for_real == {"fieldManager": "perennial", "force": "true"}


def test_what_is_not_there_is_none(api: Api) -> None:
    api.status = 404
    assert ClusterHook().read(BUDGET) is None
    assert api.asked[0][:3] == ("GET", PATH, {})


@pytest.mark.parametrize(
    ("status", "kind"), [(409, Conflict), (403, Rejected), (422, Rejected), (503, Transient)]
)
def test_each_refusal_says_whether_a_retry_helps(api: Api, status: int, kind: type[LifecycleError]) -> None:
    api.status = status
    with pytest.raises(LifecycleError, match="what the cluster says") as refused:
        ClusterHook().apply(BUDGET)
    assert type(refused.value) is kind


def test_a_cluster_that_does_not_answer_may_do_so_later(tmp_path: Path, api: Api) -> None:
    config = json.loads((tmp_path / "kubeconfig").read_text())
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    with pytest.raises(Transient, match="the cluster does not answer"):
        ClusterHook().read(BUDGET)
