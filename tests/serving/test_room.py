import socket
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from include.lifecycle.store.objects import Store
from include.serving.head import MAX_BODY
from include.serving.refusals import Busy
from include.serving.room import Room
from tests.serving.released import MODEL, ROW, publish, release_of
from tests.serving.running import RunningServer, wait_until


def test_bodies_are_taken_as_long_as_there_is_room() -> None:
    room = Room(limit=100)
    with room.taken(60), room.taken(40):
        with pytest.raises(Busy, match="send this again"), room.taken(1):
            pass
        with room.taken(0):
            pass
    with room.taken(100):
        pass


def test_whatever_becomes_of_a_body_its_room_is_free_again() -> None:
    room = Room(limit=100)
    with pytest.raises(ZeroDivisionError), room.taken(100):
        raise ZeroDivisionError
    with room.taken(100):
        pass


def test_while_large_bodies_take_all_room_others_are_told_to_come_again_and_single_rows_are_answered(
    tmp_path: Path, store: Store, packages: dict[str, Path]
) -> None:
    publish(store, release_of(packages["1"], "1", store))
    head = f"POST /models/{MODEL}/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY}\r\n\r\n"
    large, small = ({"dataframe_records": [ROW] * count} for count in (2_000, 1))
    with RunningServer(tmp_path / "home", store.uri) as server, ExitStack() as slow:
        client = slow.enter_context(httpx.Client(base_url=server.url, timeout=30))

        def status() -> int:
            return client.post("/invocations", json=large).status_code

        assert status() == 200
        senders: list[socket.socket] = []

        def send_head() -> None:
            senders.append(slow.enter_context(socket.create_connection(("127.0.0.1", server.port))))
            senders[-1].sendall(head.encode())

        for _ in range(24):
            send_head()

        def is_refused() -> bool:
            send_head()  # once more each time: one that comes while `status` has room is refused itself
            for sender in senders:
                sender.sendall(b"x")
            return status() == 503

        wait_until(is_refused, "the room is taken")
        memory = psutil.Process(server.process.pid).memory_info
        before = memory().rss
        crowd = [slow.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(50)]
        for caller in crowd:
            caller.sendall(head.encode() + b"x" * (6 << 20))
            assert caller.recv(12) == b"HTTP/1.1 503"
        # They sent 300 MB, and said that 500 MB come.
        assert memory().rss - before < 100 << 20
        reply = client.post("/invocations", json=large)
        assert reply.headers["Retry-After"] == "1"
        assert "send this again in a second" in reply.json()["error"]
        assert client.post("/invocations", json=small).status_code == 200
        for sender in senders:
            sender.close()
        wait_until(lambda: status() == 200, "there is room again")
