import socket
from collections.abc import Iterator

import pytest

from include.stack.errors import PortTaken
from include.stack.ports import HOST, Ports, reserved_ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> Ports:
    """Usual ports that no other program of this machine is likely to have."""
    ports = Ports(airflow=28080, mlflow=25000, server=28000, worker_logs=28793, trigger_logs=28794)
    monkeypatch.setattr("include.stack.ports.Ports", lambda **chosen: Ports(**chosen or vars(ports)))
    return ports


def test_the_usual_ports_are_taken_when_they_are_free(usual: Ports) -> None:
    said: list[str] = []
    with reserved_ports({}, said.append) as ports:
        assert (ports, said) == (usual, [])


def test_a_taken_port_gives_way_to_the_next_and_is_said(usual: Ports) -> None:
    said: list[str] = []
    with socket.socket() as listener:
        listener.bind((HOST, usual.airflow))
        listener.listen()
        with reserved_ports({}, said.append) as ports:
            assert ports.airflow == usual.airflow + 1
    assert said == ["port 28080 is taken; using 28081 for airflow"]


def test_two_stacks_that_start_at_once_get_different_ports(usual: Ports) -> None:
    with reserved_ports({}, print) as one, reserved_ports({}, print) as other:
        assert not set(vars(one).values()) & set(vars(other).values())


def test_the_ports_of_a_stack_that_has_ended_are_free_again(usual: Ports) -> None:
    for _ in range(2):
        with reserved_ports({}, print) as ports:
            assert ports == usual


def test_a_fixed_port_that_is_taken_is_an_error_that_names_the_variable(taken: int) -> None:
    environ = {"PERENNIAL_SERVER_PORT": str(taken)}
    message = f"PERENNIAL_SERVER_PORT={taken}"
    with pytest.raises(PortTaken, match=message), reserved_ports(environ):
        pass


@pytest.mark.parametrize("nonsense", ["eighty", "-1", "70000"])
def test_a_fixed_port_that_is_no_port_is_an_error(nonsense: str) -> None:
    environ = {"PERENNIAL_AIRFLOW_PORT": nonsense}
    with pytest.raises(PortTaken, match=nonsense), reserved_ports(environ):
        pass
