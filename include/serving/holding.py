"""`python -m include.serving.holding --port 8000`: keeps the port while the server behind it is replaced.

A server that is killed, or dies of native code, takes the requests it was answering with it and no
other: who connects meanwhile waits for the one that is started in its place.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
from types import FrameType


def main() -> int:
    """Return what the last server returned: it ended by itself, or was asked to."""
    told = _arguments()
    family = socket.AF_INET6 if ":" in told.host else socket.AF_INET
    with socket.create_server((told.host, told.port), family=family, backlog=2048) as listener:
        return hold(listener, ["--host", told.host, "--port", str(told.port)])


def hold(listener: socket.socket, told: list[str]) -> int:
    """Run servers on a socket, one after the other, as long as they are killed."""
    fd = listener.fileno()
    command = [sys.executable, "-m", "include.serving", *told, "--fd", str(fd)]
    while True:
        server = subprocess.Popen(command, pass_fds=[fd])
        _hand_on_signals(server, listener)
        status = server.wait()
        if status >= 0 or listener.fileno() < 0:
            return status if status >= 0 else 128 - status
        print(f"the server was ended by signal {-status}: starting another one", file=sys.stderr)


def _hand_on_signals(server: subprocess.Popen[bytes], listener: socket.socket) -> None:
    """Whoever is to end takes nobody new."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        listener.close()
        server.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m include.serving.holding", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument("--host", default="0.0.0.0", help="default: 0.0.0.0, all addresses")  # noqa: S104
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
