import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from include.lifecycle.errors import Transient
from include.lifecycle.model.lifelines import await_others, connect, listen
from include.lifecycle.store.meeting import Address


def _leader_at(listener: socket.socket) -> Callable[[], Address]:
    port = listener.getsockname()[1]
    return lambda: Address(host="127.0.0.1", tracker=1, lifeline=port)


def _comes(find: Callable[[], Address], rank: int, patience: float) -> bool:
    try:
        _, lifelines = connect(find, rank, patience)
    except Transient:
        return False
    lifelines.forget()
    return True


def test_of_two_workers_of_one_rank_one_takes_part() -> None:
    listener = listen()
    find = _leader_at(listener)
    stranger = socket.create_connection(listener.getsockname()[:2])
    stranger.close()
    with ThreadPoolExecutor() as threads:
        twins = [threads.submit(_comes, find, 1, 3) for _ in range(2)]
        late = threading.Timer(1, lambda: _comes(find, 2, 3))
        late.start()
        await_others(listener, 2, 10).forget()
        assert sorted(twin.result() for twin in twins) == [False, True]
    late.join()


def test_who_does_not_come_or_is_not_found_is_said() -> None:
    with pytest.raises(Transient, match=r"1 of 2 workers did not come in 0\.2 s"):
        await_others(listen(), 1, 0.2)
    with pytest.raises(Transient, match=r"the worker that leads was not found in 0\.2 s"):
        connect(lambda: None, 1, 0.2)
