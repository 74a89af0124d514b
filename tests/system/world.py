"""One real stack: PostgreSQL, Airflow, MLflow, the server; on S3 where there is one
(AWS_ENDPOINT_URL), else in a folder."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from include.demo.replay import Replay
from include.demo.specs import linked_specs
from include.lifecycle.store.objects import Store, open_store
from include.stack import components
from include.stack.home import Settings
from include.stack.processes import Component
from include.stack.stack import Stack, running_stack
from tests.docker.cluster import Cluster
from tests.docker.pods import pod_environment
from tests.system.driven_airflow import DrivenAirflow

ROOT = Path(__file__).resolve().parents[2]
FIRST_DAY, FIRST_LIVE_DAY = date(2013, 1, 1), date(2013, 1, 22)
COLLEAGUE = "ann"


@dataclass
class World:
    """What a test of the running system needs."""

    stack: Stack
    specs: Path
    store: Store
    airflow: DrivenAirflow
    replay: Replay

    @property
    def landing(self) -> Path:
        """Where source files arrive."""
        return Path(self.stack.settings.landing)

    def colleague(self) -> DrivenAirflow:
        """The same Airflow for another person."""
        return DrivenAirflow(self.stack.airflow_url, lambda: self.stack.token(COLLEAGUE))


@dataclass(frozen=True)
class Nodes:
    """A cluster for the steps, and how its pods reach what is outside of it."""

    cluster: Cluster
    image: str
    s3: str
    """Where pods find the S3 server."""

    def prepared(self, specs: Path, store: str) -> dict[str, str]:
        """Make the profile and the Secret; returns what the stack's environment says of them."""
        kubernetes = {"namespace": self.cluster.namespace, "images": {"trainer": self.image}}
        (specs / "profiles/kubernetes.yaml").write_text(yaml.safe_dump({"kubernetes": kubernetes}))
        host = str(urlsplit(self.s3).hostname)
        with socket.create_server((host, 0)) as free:
            port = str(free.getsockname()[1])
        landing, mlflow = f"{store}/landing", f"http://{host}:{port}"
        told = pod_environment(store, self.s3, PERENNIAL_LANDING=landing, MLFLOW_TRACKING_URI=mlflow)
        self.cluster.share("perennial-store", told)
        return {
            "PERENNIAL_PROFILE": "kubernetes",
            "PERENNIAL_LANDING": landing,
            "PERENNIAL_MLFLOW_HOST": host,
            "PERENNIAL_MLFLOW_PORT": port,
        }


@contextmanager
def running_world(
    nodes: Nodes | None = None, airflow: Callable[[], list[Component]] = components.airflow
) -> Iterator[World]:
    """A stack of its own in a temporary home, with the project's specs shortened; steps are pods where
    there are nodes for them."""
    home = Path(tempfile.mkdtemp(prefix="perennial-"))
    specs = linked_specs(shortened_specs(home / "shortened"), home / "specs")
    store = f"s3://lake/{uuid.uuid4().hex[:8]}" if os.environ.get("AWS_ENDPOINT_URL") else f"{home}/store"
    before = dict(os.environ)
    os.environ |= {"PERENNIAL_SPECS": str(specs), "PERENNIAL_HOME": str(home), "PERENNIAL_STORE": store}
    os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = f"{COLLEAGUE}:user"
    try:
        os.environ |= nodes.prepared(specs, store) if nodes else {}
        with running_stack(Settings.from_environment(os.environ), print, os.environ, airflow) as stack:
            airflow = DrivenAirflow(stack.airflow_url, stack.token)
            landing = Store(stack.settings.landing)
            replay = Replay(airflow, stack.server_url, open_store(), landing, print)
            yield World(stack, specs, open_store(), airflow, replay)
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(home, ignore_errors=True)


def shortened_specs(folder: Path) -> Path:
    """The project's specs with shorter spans and an impatient governor, in a folder of their own."""
    for name in ("datasets", "models", "profiles"):
        shutil.copytree(ROOT / "include" / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "models" / "flight_delay.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["training"] |= {"stop": "4d", "gate": "3d", "max_trees": 60, "min_trees": 10}
    spec["monitoring"] |= {"lookback": "1d", "drift": {"floor": 0.01, "times": 0.01}}
    spec["governor"] |= {"bad_windows": 2, "of_last": 2, "min_growth": 0.01, "cooldown": "2d"}
    spec["gates"] = [{"metric": "auc", "at_least": 0.5}, {"metric": "brier", "worse_by_at_most": 0.05}]
    del spec["release"]
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return folder
