from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from include.serving.copies import Copies
from tests.serving.running import wait_until


@pytest.fixture
def copies() -> Iterator[Copies]:
    copies = Copies(rows=10)
    copies.start()
    yield copies
    copies.stop()


def test_copies_are_worked_on_in_their_order_on_another_thread(copies: Copies) -> None:
    done: list[tuple[int, str]] = []
    for number in range(5):
        assert copies.offer(1, lambda number=number: done.append((number, threading.current_thread().name)))
    wait_until(lambda: len(done) == 5, "all is done")
    assert done == [(number, "copies") for number in range(5)]


def test_a_copy_too_many_is_refused_at_once_and_others_are_taken_when_there_is_room(copies: Copies) -> None:
    go = threading.Event()
    assert copies.offer(9, lambda: go.wait(30) and None)
    assert not copies.offer(2, lambda: None)
    assert copies.offer(1, lambda: None)
    assert not copies.offer(1, lambda: None)
    go.set()
    wait_until(lambda: copies.offer(10, lambda: None), "there is room again")


def test_a_copy_larger_than_the_queue_is_taken_when_it_is_alone(copies: Copies) -> None:
    done = threading.Event()
    assert copies.offer(1_000, done.set)
    assert done.wait(30)


def test_work_that_fails_does_not_end_the_thread(copies: Copies) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    done = threading.Event()
    assert copies.offer(1, fail)
    assert copies.offer(1, done.set)
    assert done.wait(30)


def test_what_waits_is_forgotten_at_the_end() -> None:
    copies, go, done = Copies(), threading.Event(), threading.Event()
    copies.start()
    copies.offer(1, lambda: go.wait(30) and None)
    copies.offer(1, done.set)
    stopping = threading.Thread(target=copies.stop)
    stopping.start()
    wait_until(lambda: copies._stopped, "the queue is stopped")
    go.set()
    stopping.join()
    assert not done.is_set()
