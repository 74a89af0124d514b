"""`python -m include.serving --port 8000`: serve every released model until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from include.lifecycle.errors import LifecycleError
from include.lifecycle.store.objects import home_folder, open_store
from include.serving.access import KeyRequired, keys_of
from include.serving.answering import Answering
from include.serving.app import create_app
from include.serving.at_once import AtOnce
from include.serving.connections import PATIENCE, BoundedConnection
from include.serving.copies import Copies
from include.serving.holding import borrowed
from include.serving.left_behind import take_over
from include.serving.loader import Models
from include.serving.metrics import Metrics
from include.serving.packages import PackageCache
from include.serving.prediction_log import HomeInUse, PredictionLog, owned
from include.serving.rate import Rate, RateLimited, rate_of
from include.serving.watching import watched_map

_FLUSH_AT_EXIT = 10.0
_GRACE = 10


class PortTaken(RuntimeError):
    """Somebody listens on the port already, or does not lend it."""


def main() -> int:
    """Return 0 after SIGTERM or Ctrl-C, 1 when the server cannot start."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if arguments.lifeline:
        threading.Thread(target=_end_with_stdin, name="lifeline", daemon=True).start()
    # Before uvicorn takes the signals, and when it hands them on at its end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    try:
        serve(arguments, home_folder())
    except (PortTaken, HomeInUse, LifecycleError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def serve(told: argparse.Namespace, home: Path) -> None:
    """Serve until a signal; raises PortTaken, HomeInUse or LifecycleError when it cannot start."""
    keys, rate = keys_of(told.host), rate_of()
    with ExitStack() as stack:
        listener = stack.enter_context(_listener(told))
        folder = stack.enter_context(owned(home / "prediction-log"))
        if homes := os.environ.get("PERENNIAL_HOMES"):  # of all servers, on one volume
            take_over(Path(homes), folder)
        store, metrics = open_store(), Metrics()
        log = PredictionLog(folder, store, metrics)
        stack.callback(log.close, _FLUSH_AT_EXIT)
        copies = Copies()
        stack.callback(copies.stop)
        copies.start()
        models = Models(store, PackageCache(home / "packages", store), metrics, documents=_documents(stack))
        stack.callback(models.stop)
        models.start()
        answering = Answering(models, log, metrics, copies)
        app = create_app(answering, models, log, metrics)
        uvicorn.Server(_config(app, answering, keys, rate)).run(sockets=[listener])


def _config(app: ASGIApp, answering: Answering, keys: frozenset[bytes], rate: Rate | None) -> uvicorn.Config:
    limited = RateLimited(app, rate) if rate else None
    keyed = KeyRequired(limited or app, keys) if keys else None
    at_once = AtOnce(answering, keyed, limited)
    return uvicorn.Config(
        keyed or limited or app,
        http=cast(Any, partial(BoundedConnection, at_once=at_once)),
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=int(2 * PATIENCE),  # connections end themselves, before that
    )


def _documents(stack: ExitStack) -> Callable[[], Mapping[str, bytes | None]] | None:
    """The release documents of the ConfigMap that is named; None where the store's are followed."""
    if (watched := watched_map()) is None:
        return None
    watched.start()
    stack.callback(watched.stop)
    return watched.contents


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m include.serving", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    parser.add_argument("--fd", type=int, help="a socket that listens there already, and is used instead")
    parser.add_argument("--lifeline", action="store_true", help="end at once when stdin closes")
    parser.add_argument("--borrow", type=Path, help="where include.serving.holding lends the port")
    return parser.parse_args()


def _listener(told: argparse.Namespace) -> socket.socket:
    """The socket, bound before anything slow, so that a taken port is told at once."""
    if told.fd is not None:
        return socket.socket(fileno=told.fd)
    if told.borrow is not None:
        return _borrowed(told.borrow)
    host, port = told.host, told.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        raise PortTaken(
            f"cannot listen on {host}:{port}: {error}; stop what runs there, or choose another --port"
        ) from error
    return listener


def _end_with_stdin() -> None:
    """Stdin closes when the process that started this one ends, however that ends."""
    while os.read(0, 1):
        pass
    # Whatever feature code is busy with; what was acknowledged is on disk.
    os._exit(0)


def _borrowed(at: Path) -> socket.socket:
    try:
        return borrowed(at)
    except OSError as error:
        raise PortTaken(f"nobody lends a port at {at}: {error}; start include.serving.holding") from error


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    # A thread that waits for a store that is away must not keep the process.
    os._exit(status)
