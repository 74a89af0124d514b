"""A port in use: the model server and the stack say which, and what to do; the one that has it goes on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from include.stack.errors import PortTaken
from include.stack.ports import HOST, Ports, reserved_ports
from tests.bad_input.project import Project
from tests.serving.running import RunningServer, wait_until


def test_a_server_whose_port_is_taken_says_so_and_starts_there_once_it_is_free(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = project.home / "second"
    with project.unharmed(), socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        taken = listener.getsockname()[1]
        refused = start_server(taken, home)
        assert refused.returncode == 1
        assert f"cannot listen on {HOST}:{taken}" in refused.stderr
        assert "stop what runs there, or choose another --port" in refused.stderr
        assert "Traceback" not in refused.stderr
    monkeypatch.setattr("tests.serving.running.free_port", lambda: taken)
    with RunningServer(home, project.store.uri) as server:
        monkeypatch.setattr(project, "server", server)
        wait_until(lambda: project.answering_version() == "1", "the champion answers there")


def test_a_second_server_on_the_port_leaves_the_first_alone(project: Project) -> None:
    with project.unharmed():
        assert start_server(project.server.port, project.home / "third").returncode == 1


def start_server(port: int, home: Path) -> subprocess.CompletedProcess[str]:
    """A server that is expected to end at once."""
    return subprocess.run(
        [sys.executable, "-m", "include.serving", "--port", str(port)],
        env={**os.environ, "PERENNIAL_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_port_that_the_user_fixed_is_an_error_until_it_is_free(project: Project) -> None:
    variable = "PERENNIAL_SERVER_PORT"
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        fixed = {variable: str(listener.getsockname()[1])}
        with (
            project.unharmed(),
            pytest.raises(PortTaken, match=f"{variable}={fixed[variable]}: this port is taken"),
            reserved_ports(fixed),
        ):
            pass
    with reserved_ports(fixed, lambda _: None) as ports:
        assert str(ports.server) == fixed[variable]


def test_a_usual_port_that_is_taken_gives_way_and_says_so(project: Project) -> None:
    said: list[str] = []
    usual = Ports()
    with project.unharmed(), socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, usual.mlflow))
            listener.listen()
        except OSError:
            pass  # somebody else has it, which is as good
        with reserved_ports({}, said.append) as ports:
            assert ports.mlflow != usual.mlflow
    assert f"port {usual.mlflow} is taken; using {ports.mlflow} for mlflow" in said
