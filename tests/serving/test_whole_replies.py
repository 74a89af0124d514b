import asyncio
from typing import cast

import uvicorn
from starlette.responses import Response
from uvicorn.server import ServerState

from include.serving.connections import BoundedConnection
from include.serving.whole_replies import WholeReplies


class Wire:
    """What a caller would see of a transport."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.is_closed = False

    def writelines(self, parts: list[bytes]) -> None:
        assert not self.is_closed
        self.seen.append(b"".join(parts))

    def get_extra_info(self, name: str) -> None:
        return None

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        return 7


def written(use: str) -> Wire:
    """The wire after a head and a body were written in one turn, and something more was done."""
    wire = Wire()

    async def reply() -> None:
        transport = WholeReplies(cast(asyncio.Transport, wire), asyncio.get_running_loop())
        transport.write(b"head ")
        transport.write(b"body")
        assert wire.seen == []
        assert transport.get_write_buffer_size() == 7 + len(b"head body")
        if use:
            getattr(transport, use)()
        await asyncio.sleep(0)
        if not wire.is_closed:
            transport.write(b"next")
            await asyncio.sleep(0)

    asyncio.run(reply())
    return wire


def test_head_and_body_leave_in_one_write_and_the_next_reply_in_another() -> None:
    assert written("").seen == [b"head body", b"next"]


def test_what_is_held_is_sent_before_a_connection_closes() -> None:
    assert written("close").seen == [b"head body"]


def test_nothing_is_sent_to_a_caller_who_was_cut_off() -> None:
    assert written("abort").seen == []


def test_the_server_answers_with_one_write() -> None:
    wire = Wire()

    async def ask() -> None:
        config = uvicorn.Config(Response(b"the body"), http=BoundedConnection, lifespan="off")
        config.load()
        connection = BoundedConnection(config, ServerState(), {}, asyncio.get_running_loop())
        connection.connection_made(cast(asyncio.Transport, wire))
        connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while not wire.seen:
            await asyncio.sleep(0)
        connection.connection_lost(None)

    asyncio.run(asyncio.wait_for(ask(), 30))
    (reply,) = wire.seen
    assert reply.startswith(b"HTTP/1.1 200 OK")
    assert reply.endswith(b"the body")
