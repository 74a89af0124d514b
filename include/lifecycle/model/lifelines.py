"""Is every other worker alive? Each holds a connection to the one that leads, which breaks when it dies.

XGBoost itself would wait for a lost worker for ever. A process that must not wait on ends itself: its own
thread is inside XGBoost, where no exception reaches it.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from include.lifecycle.errors import Transient
from include.lifecycle.store.meeting import Address

_GRACE = 5
"""Seconds in which a worker may still end in good order after it lost another, as when all are told to."""
_WELCOME, _LEFT = b"welcome", b"left"
_RANK_BYTES = 4
_SILENCE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}
"""A machine that vanishes closes no connection; after a minute without an answer it counts as lost."""


class Lifelines:
    """The connections of one worker, watched until it leaves."""

    def __init__(self, others: Sequence[socket.socket]) -> None:
        self._others = list(others)
        for other in others:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, seconds in _SILENCE.items():
                other.setsockopt(socket.IPPROTO_TCP, option, seconds)
        self._ended = False
        self._watcher = threading.Thread(target=self._watch, name="lifelines", daemon=True)
        self._watcher.start()

    def leave(self, *, leads: bool) -> None:
        """Go in good order: the worker that leads goes when all others are ready, they when it has gone."""
        if leads:
            self._watcher.join()
        for other in self._others:
            other.sendall(_LEFT)
        if not leads:
            self._watcher.join()

    def forget(self) -> None:
        """This worker is on its way out, and nothing more ends it."""
        self._ended = True

    def _watch(self) -> None:
        waiting = self._others
        while waiting:
            ready, _, _ = select.select(waiting, [], [])
            for other in ready:
                if not _said_farewell(other):
                    self._lose()
                    return
            waiting = [other for other in waiting if other not in ready]

    def _lose(self) -> None:
        time.sleep(_GRACE)
        if not self._ended:
            sys.stderr.write("Transient: training: another worker was lost; all begin again\n")
            sys.stderr.flush()
            os._exit(Transient.exit_code)


def listen() -> socket.socket:
    """A socket at any free port, at which the others connect."""
    return socket.create_server(("", 0))


def await_others(listener: socket.socket, count: int, patience: float) -> Lifelines:
    """The connections of `count` workers, one of each rank; raises Transient after `patience` seconds.

    Of two of one rank, as when a call is run twice at a time, the later one takes part: with both, one share
    of the rows would count twice and another one not at all.
    """
    deadline = time.monotonic() + patience
    others: dict[int, socket.socket] = {}
    with listener:
        while len(others) < count:
            listener.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                other = listener.accept()[0]
            except TimeoutError:
                raise Transient(
                    f"training: {count - len(others)} of {count + 1} workers did not come in {patience:g} s"
                ) from None
            if (rank := _rank_of(other)) is None:
                continue
            if rank in others:
                others[rank].close()
            others[rank] = other
    for other in others.values():
        with suppress(OSError):  # who is gone already is missed at once
            other.sendall(_WELCOME)
    return Lifelines([*others.values()])


def connect(find: Callable[[], Address | None], rank: int, patience: float) -> tuple[Address, Lifelines]:
    """Where the worker that leads is found, and the connection to it; raises Transient after `patience`
    seconds."""
    deadline = time.monotonic() + patience
    while (left := deadline - time.monotonic()) > 0:
        if (address := find()) is not None:
            with suppress(OSError):  # nobody is there who was, before it was started again
                leader = socket.create_connection((address.host, address.lifeline), 5)
                leader.sendall(rank.to_bytes(_RANK_BYTES))
                leader.settimeout(left)
                if leader.recv(len(_WELCOME)) == _WELCOME:
                    return address, Lifelines([leader])
        time.sleep(0.5)
    raise Transient(f"training: the worker that leads was not found in {patience:g} s")


def _rank_of(other: socket.socket) -> int | None:
    try:
        other.settimeout(5)
        said = other.recv(_RANK_BYTES)
    except OSError:
        return None
    return int.from_bytes(said) if len(said) == _RANK_BYTES else None


def _said_farewell(other: socket.socket) -> bool:
    try:
        other.settimeout(None)
        return other.recv(len(_LEFT)) == _LEFT
    except OSError:
        return False
