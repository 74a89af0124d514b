"""Which programs make up the stack, and how is each one started?"""

import sys

from include.stack import in_turn, postgres
from include.stack.home import Settings
from include.stack.ports import HOST, Ports
from include.stack.processes import Component


def database(settings: Settings) -> list[Component]:
    """Return the server of both databases."""
    sockets = postgres.socket_folder(settings.home)
    command = postgres.command(settings.postgres / "data", sockets)
    return [Component(name="postgres", command=command)]


def services(settings: Settings, ports: Ports) -> list[Component]:
    """Return what needs no Airflow: MLflow and the model server."""
    return [
        Component(name="mlflow", command=_mlflow(settings, ports)),
        Component(name="server", command=_python("include.serving", "--port", str(ports.server))),
    ]


def airflow() -> list[Component]:
    """Return the components of Airflow, the one that takes longest to start first."""
    names = ("scheduler", "api-server", "dag-processor", "triggerer")
    return [Component(name=name, command=_python("airflow", name)) for name in names]


def _mlflow(settings: Settings, ports: Ports) -> list[str]:
    backend = postgres.uri(postgres.socket_folder(settings.home), "mlflow")
    server = ["mlflow", "server", "--backend-store-uri", backend]
    server += ["--artifacts-destination", settings.mlflow.as_uri()]
    server += ["--host", settings.mlflow_host, "--port", str(ports.mlflow), "--workers", "1"]
    if settings.mlflow_host != HOST:
        server += ["--allowed-hosts", f"{settings.mlflow_host}:{ports.mlflow}"]
    server += ["--uvicorn-opts", "--log-level warning"]
    return in_turn.command(["mlflow", "db", "upgrade", backend], server)


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]
