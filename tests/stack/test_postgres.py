import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from include.stack import components, postgres
from include.stack.home import PROJECT_ROOT, Settings
from include.stack.processes import running
from tests.stack.waiting import eventually, gone

# A locale that no machine has must not matter.
ENV = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "LANG": "xx_XX.UTF-8"}


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@contextmanager
def server(home: Path) -> Iterator[Path]:
    settings = Settings.at(home)
    settings.make_folders()
    group = components.database(settings)
    postgres.end_leftover(settings.postgres / "data")
    sockets = postgres.socket_folder(home)
    with running("database", group, env=ENV, logs=settings.logs, cwd=home):
        eventually(lambda: bool(postgres.healthy(sockets)))
        yield sockets


def _pid(home: Path) -> int:
    return int((home / "postgres/data/postmaster.pid").read_text().split()[0])


def _names(sockets: Path) -> set[str]:
    with psycopg.connect(host=str(sockets), user="postgres") as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def test_both_databases_are_there_and_stay_on_the_next_start(home: Path) -> None:
    for _ in range(2):
        with server(home) as sockets:
            postgres.ensure_databases(sockets)
            assert {"airflow", "mlflow"} <= _names(sockets)
            process = psutil.Process(_pid(home))
        assert gone(process)


def test_only_the_owner_reaches_the_server(home: Path) -> None:
    with server(home) as sockets:
        assert sockets.stat().st_mode & 0o077 == 0
        assert psutil.Process(_pid(home)).net_connections("inet") == []


def test_a_home_with_a_long_path_works(home: Path) -> None:
    long = home / ("long" * 30)
    with server(long) as sockets:
        postgres.ensure_databases(sockets)
        assert len(str(sockets)) < 90
    sockets.rmdir()


def test_a_killed_server_starts_again(home: Path) -> None:
    with server(home) as sockets:
        postgres.ensure_databases(sockets)
        psutil.Process(_pid(home)).kill()
    with server(home) as sockets:
        assert {"airflow", "mlflow"} <= _names(sockets)


def test_a_stale_pid_file_that_names_a_living_stranger_is_no_obstacle(home: Path) -> None:
    with server(home):
        pid_file = home / "postgres/data/postmaster.pid"
        stale = pid_file.read_text().split("\n")
    pid_file.write_text("\n".join([str(os.getpid()), *stale[1:]]))
    with server(home):
        assert _pid(home) != os.getpid()


def test_a_server_left_over_from_a_killed_stack_makes_way(home: Path) -> None:
    sockets = postgres.socket_folder(home)
    command = postgres.command(home / "postgres/data", sockets)
    with subprocess.Popen(command, env=ENV, cwd=PROJECT_ROOT):
        eventually(lambda: bool(postgres.healthy(sockets)))
        first = psutil.Process(_pid(home))
        with server(home):
            assert gone(first)
            assert _pid(home) != first.pid
