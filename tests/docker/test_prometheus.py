"""The shipped alert rules, scrape config and dashboard, with a real Prometheus that scrapes a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from include.lifecycle.store.objects import Store
from include.stack.home import PROJECT_ROOT
from tests.serving.released import FEATURES, MODEL, ROW, make_package, publish, release_of
from tests.serving.running import RunningServer, answers, free_port, wait_until

SHIPPED = PROJECT_ROOT / "docker/prometheus"
DASHBOARD = json.loads((PROJECT_ROOT / "docker/grafana/model_server.json").read_text())
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((SHIPPED / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
VARIABLES = {"$model": MODEL, "$version": ".*", "$__rate_interval": "1m"}

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="prometheus and promtool are not installed (Debian: apt-get install prometheus)",
)


class Prometheus:
    """A Prometheus with the shipped config, but for where the server listens and how often it is asked."""

    def __init__(self, folder: Path, server_port: int) -> None:
        config = yaml.safe_load((SHIPPED / "prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "200ms", "evaluation_interval": "200ms"}
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{server_port}"]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        shutil.copy(SHIPPED / "alerts.yaml", folder)
        listens = f"127.0.0.1:{free_port()}"
        self.url = f"http://{listens}"
        self._command = ["prometheus", f"--web.listen-address={listens}"]
        self._command += [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]

    def __enter__(self) -> Prometheus:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        wait_until(lambda: answers(f"{self.url}/-/ready"), "Prometheus is ready", self._process)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        reply = httpx.get(f"{self.url}/api/v1/{path}", params=parameters)
        assert reply.is_success, f"{parameters}: {reply.text}"
        return reply.json()["data"]

    def value(self, query: str) -> float | None:
        """The value of a query with one series."""
        found = self.get("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Serves version 1, and in shadow a version 2 that fails on a carrier XX."""
    folder = tmp_path_factory.mktemp("prometheus")
    store = Store(str(folder / "store"))
    brittle = FEATURES.replace(b"    return", b"    assert 'XX' not in rows['carrier']\n    return")
    good, bad = make_package(folder / "1", seed=1), make_package(folder / "2", seed=2, features=brittle)
    publish(store, release_of(good, "1", store), candidate=release_of(bad, "2", store))
    with RunningServer(folder / "home", store.uri) as server:
        ready = f"{server.url}/v2/models/{MODEL}/versions/2/ready"
        wait_until(lambda: answers(ready), "the candidate is loaded")
        yield server


@pytest.fixture(scope="module")
def prometheus(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Prometheus(tmp_path_factory.mktemp("scraping"), server.port) as running:
        _ask(server, ROW)  # what is counted for the first time is seen to grow from then on alone
        wait_until(lambda: running.value("sum(perennial_requests_total)"), "a request is scraped")
        for _ in range(20):
            _ask(server, ROW, ROW)
        _ask(server, {**ROW, "carrier": "XX"})
        _ask(server, {"distance": "far"})
        server.flush()
        _wait_for(running, "perennial_score_count", 42)
        _wait_for(running, "perennial_score_difference_count", 41)
        yield running


def _ask(server: RunningServer, *rows: dict[str, Any]) -> None:
    httpx.post(f"{server.url}/invocations", json={"instances": rows})


def _wait_for(prometheus: Prometheus, query: str, value: float) -> None:
    wait_until(lambda: prometheus.value(query) == value, f"{query} is {value:g}")


def _promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _metrics(query: str) -> set[str]:
    return set(re.findall(r"\b(?:perennial_\w+|up)\b(?!\")", query))


def test_prometheus_takes_config_and_rules() -> None:
    assert f"{len(ALERTS)} rules found" in _promtool("check", "rules", SHIPPED / "alerts.yaml")
    _promtool("check", "config", SHIPPED / "prometheus.yaml")


def test_each_alert_fires_for_its_cause_and_no_healthy_server_fires_one(tmp_path: Path) -> None:
    """Without annotations: promtool would want their texts once more."""
    rules = [{**rule, "annotations": {}} for rule in ALERTS.values()]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    cases = yaml.safe_load((Path(__file__).parent / "alerts_test.yaml").read_text())
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], **cases}))
    _promtool("test", "rules", tmp_path / "cases.yaml")
    fired = {
        case["alertname"]
        for group in cases["tests"]
        for case in group["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert fired == ALERTS.keys()


def test_rules_and_dashboard_name_only_metrics_that_the_server_has(prometheus: Prometheus) -> None:
    known = set(prometheus.get("label/__name__/values"))
    asked = [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"][1:]]
    named = {
        name
        for query in [*QUERIES, *asked, *(rule["expr"] for rule in ALERTS.values())]
        for name in _metrics(query)
    }
    assert len(named) > 12
    assert named - known == set()


@pytest.mark.parametrize("query", QUERIES)
def test_each_panel_of_the_dashboard_shows_something(prometheus: Prometheus, query: str) -> None:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query
    assert prometheus.get("query", query=query)["result"]


def test_a_server_is_seen_per_version_and_arm(prometheus: Prometheus) -> None:
    version = f'{{model="{MODEL}",version="1"}}'
    assert prometheus.value(f"perennial_rows_total{version}") == 42
    assert prometheus.value(f'perennial_requests_total{{model="{MODEL}",version="1",outcome="ok"}}') == 22
    assert prometheus.value('perennial_model_info{version="2",arm="shadow"}') == 1
    assert prometheus.value('perennial_score_count{version="1",arm="champion"}') == 42
    assert prometheus.value("perennial_candidate_failures_total") == 1


def test_a_release_that_cannot_be_followed_makes_its_alert_wait_to_fire(
    server: RunningServer, prometheus: Prometheus
) -> None:
    def waiting() -> list[str]:
        return [alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]]

    assert waiting() == []
    broken = Store(str(server.home.parent / "store"))
    publish(
        broken, release_of(server.home.parent / "1", "3", broken).model_copy(update={"package": {}}), seq=2
    )
    wait_until(lambda: waiting() == ["ReleaseNotFollowed"], "the alert is pending")


def test_grafana_can_import_the_dashboard() -> None:
    """What an import needs: ids of their own, places on the grid, and a datasource that one can choose."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert {"title", "uid", "schemaVersion", "templating", "time"} <= DASHBOARD.keys()
    assert DASHBOARD["id"] is None
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
