"""Which environment do the components of the stack get?"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from include.stack.home import Settings
from include.stack.keys import USER, Secrets
from include.stack.ports import HOST, Ports
from include.stack.postgres import socket_folder, uri

_PRELOAD = Path(__file__).with_name("preload")
# Of the caller's environment these would change what our own Python processes load or write.
_NOT_PASSED_ON = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
_PARALLELISM = 4
_USERS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"


def environment(
    settings: Settings,
    ports: Ports,
    secrets: Secrets,
    caller: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Return the environment of every component: the caller's, with ours on top.

    Credentials of the caller (`AWS_*`) pass through, and so do users of theirs beside our own.
    """
    kept = {name: value for name, value in caller.items() if name not in _NOT_PASSED_ON}
    return {
        **kept,
        **_project(settings),
        **_airflow(settings),
        **_airflow_api(settings, ports, secrets),
        _USERS: ",".join(filter(None, (f"{USER}:admin", caller.get(_USERS)))),
        **_speed(caller),
        **_connections(settings, ports),
    }


def password_file(settings: Settings) -> Path:
    """Where Airflow's SimpleAuthManager finds its passwords."""
    return settings.airflow / "passwords.json"


def _project(settings: Settings) -> dict[str, str]:
    return {
        "PERENNIAL_HOME": str(settings.home),
        "PERENNIAL_STORE": settings.store,
        "PERENNIAL_LANDING": settings.landing,
        "PYTHONPATH": os.pathsep.join([str(settings.root), str(_PRELOAD)]),
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        # No telemetry, and no job runner: that is for judging language models.
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def _airflow(settings: Settings) -> dict[str, str]:
    sockets = socket_folder(settings.home)
    return {
        "AIRFLOW_HOME": str(settings.airflow),
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(settings.root / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(_PARALLELISM),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": uri(sockets, "airflow"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": uri(sockets, "airflow", "asyncpg"),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    }


def _airflow_api(settings: Settings, ports: Ports, secrets: Secrets) -> dict[str, str]:
    address = f"http://{HOST}:{ports.airflow}"
    return {
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(ports.airflow),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secrets.session_key,
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.jwt_secret,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__FERNET_KEY": secrets.fernet_key,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(password_file(settings)),
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "include.stack.ports.host",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(ports.worker_logs),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports.trigger_logs),
    }


def _speed(caller: Mapping[str, str]) -> dict[str, str]:
    """What a stack on one machine needs not wait for, or not do twice."""
    cores = os.cpu_count() or 1
    return {
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        # Several tasks share the machine, so no one of them takes all cores.
        "OMP_NUM_THREADS": caller.get("OMP_NUM_THREADS") or str(max(1, cores // 2)),
    }


def _connections(settings: Settings, ports: Ports) -> dict[str, str]:
    """Connections with the ports of this very stack; they win over those in the database.

    The store's connection is not here: its credentials may be filled in by the user.
    """
    http = {"conn_type": "http", "schema": "http"}
    mlflow = {**http, "host": settings.mlflow_host, "port": ports.mlflow}
    return {
        "MLFLOW_TRACKING_URI": f"http://{settings.mlflow_host}:{ports.mlflow}",
        "AIRFLOW_CONN_PERENNIAL_MLFLOW": json.dumps(mlflow),
        "AIRFLOW_CONN_PERENNIAL_SERVER": json.dumps({**http, "host": HOST, "port": ports.server}),
    }
