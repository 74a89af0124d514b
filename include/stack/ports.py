"""On which ports does the stack listen?"""

import fcntl
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from include.stack.errors import PortTaken

HOST = "127.0.0.1"
_ATTEMPTS = 100


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports of one stack, on this machine only.

    Airflow's two log servers listen on all addresses, to whoever has a token of this stack.
    """

    airflow: int = 8080
    mlflow: int = 5000
    server: int = 8000
    worker_logs: int = 8793
    trigger_logs: int = 8794


@contextmanager
def reserved_ports(
    environ: Mapping[str, str] = os.environ, say: Callable[[str], None] = print
) -> Iterator[Ports]:
    """Choose a free port for each component and keep it from other stacks.

    `PERENNIAL_AIRFLOW_PORT`, `PERENNIAL_MLFLOW_PORT`, ... fix a port: `PortTaken` is raised when
    it is not free. Otherwise the next free port after the usual one is taken, and said so.
    """
    with ExitStack() as claims:
        chosen = {name: _choose(name, usual, environ, say, claims) for name, usual in vars(Ports()).items()}
        yield Ports(**chosen)


def _choose(
    name: str,
    usual: int,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    claims: ExitStack,
) -> int:
    variable = f"PERENNIAL_{name.upper()}_PORT"
    if fixed := environ.get(variable):
        if not fixed.isdecimal() or not _claim(int(fixed), claims):
            raise PortTaken(f"{variable}={fixed}: this port is taken or not a port number")
        return int(fixed)
    for port in range(usual, usual + _ATTEMPTS):
        if _claim(port, claims):
            if port != usual and not name.endswith("_logs"):
                say(f"port {usual} is taken; using {port} for {name}")
            return port
    raise PortTaken(f"no free port for {name} from {usual} on; set {variable}")


def _claim(port: int, claims: ExitStack) -> bool:
    """Take `port` if nobody listens on it and no stack that is starting has chosen it.

    A component binds its port many seconds after it was chosen, hence the lock file.
    """
    folder = Path(tempfile.gettempdir(), f"perennial-ports-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    claim = claims.enter_context(ExitStack())
    lock = claim.enter_context((folder / str(port)).open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            # As the servers do: a connection of a stack that has just ended does not block it.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
    except (OSError, OverflowError):
        claim.close()
        return False
    return True


def host() -> str:
    """Name this machine for Airflow: no look-up that could wait for a name server."""
    return HOST
