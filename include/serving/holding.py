"""`python -m include.serving.holding --port 8000 --lend /run/port`: keeps a port, and lends it to servers.

A server that is killed takes the requests with it that it was answering, and no other: as long as the port
is kept, who connects meanwhile waits for the server that is started in its place. The keeper does nothing
else, so that there is nothing in it to die of.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType

_PATIENCE = 20.0
"""Seconds that a server waits for a keeper that is just being started."""


def main() -> None:
    """Keep the port until SIGTERM."""
    told = _arguments()
    # The first process of a container ends by no signal that it does not take.
    signal.signal(signal.SIGTERM, _exit)
    family = socket.AF_INET6 if ":" in told.host else socket.AF_INET
    with socket.create_server((told.host, told.port), family=family, backlog=2048) as listener:
        lend(listener, told.lend)


def lend(listener: socket.socket, at: Path) -> None:
    """Hand a socket to each server that asks for it at a path; never returns."""
    at.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as desk:
        desk.bind(str(at))
        desk.listen()
        last = None
        while True:
            asking, _ = desk.accept()
            socket.send_fds(asking, [b"port"], [listener.fileno()])
            if last is not None:
                last.close()
            last = asking  # open as long as this process lives: so a server sees its end


def borrowed(at: Path) -> socket.socket:
    """The socket that is lent at a path; the process ends, as by SIGTERM, when nobody keeps it any more.

    Raises OSError when nobody lends it in time.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        keeper = socket.socket(socket.AF_UNIX)
        try:
            keeper.connect(str(at))
            break
        except OSError:
            keeper.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    _, descriptors, _, _ = socket.recv_fds(keeper, 16, 1)
    threading.Thread(target=_end_with, args=(keeper,), name="keeper", daemon=True).start()
    return socket.socket(fileno=descriptors[0])


def _end_with(keeper: socket.socket) -> None:
    keeper.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m include.serving.holding", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument("--host", default="0.0.0.0", help="default: 0.0.0.0, all addresses")  # noqa: S104
    parser.add_argument("--lend", type=Path, required=True, help="where servers on this machine ask for it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
