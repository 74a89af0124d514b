"""Which requests are answered where they are read? Short ones that ask for a prediction: the way through
ASGI takes as long as the answer. Those that are read one after the other are answered together.

A request that is unusual in any way is left to the application, which answers all of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple, Self
from urllib.parse import unquote

import httptools
from starlette.responses import Response

from include.serving.access import KeyRequired
from include.serving.answering import Answering, Reply
from include.serving.head import BULK_BODY, Headers, Target, announced, completed, given_id, target_of
from include.serving.rate import RateLimited
from include.serving.refusals import Refused
from include.serving.replies import failure, refusal

_log = logging.getLogger(__name__)
_MOST = 16
"""As many requests are answered with one prediction."""
_LONGEST_URL = 200
"""Of a URL that is remembered; a longer one is left to the application."""


class Whole(NamedTuple):
    """A reply as it is written."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @classmethod
    def answering(cls, reply: Reply) -> Self:
        """An answer."""
        return cls(200, reply.headers, reply.body)

    @classmethod
    def of(cls, response: Response) -> Self:
        """What the application would send."""
        return cls(response.status_code, response.raw_headers, bytes(response.body))


class _Unwatched:
    """Stands for the event that an application would wait for."""

    def set(self) -> None:
        """Tell nobody."""


class Asked:
    """A request whose body is being read: to uvicorn one of its own cycles, which no task runs.

    Uvicorn's protocol adds to `body`, ends `more_body`, asks for `response_complete`, and says with
    `disconnected` that nobody listens and with `keep_alive` that the connection ends with the reply.
    """

    __slots__ = (
        "body",
        "disconnected",
        "keep_alive",
        "more_body",
        "request_id",
        "response_complete",
        "target",
    )
    message_event = _Unwatched()

    def __init__(self, target: Target, request_id: str | None, keep_alive: bool) -> None:
        self.target, self.request_id, self.keep_alive = target, request_id, keep_alive
        self.body, self.more_body = bytearray(), True
        self.response_complete = self.disconnected = False


Write = Callable[[Whole], None]
Waiting = tuple[Asked, Write]


class AtOnce:
    """Takes short requests for a prediction, of callers who may ask, and answers them."""

    def __init__(self, answering: Answering, keys: KeyRequired | None, rate: RateLimited | None) -> None:
        self._answering, self._keys, self._rate = answering, keys, rate
        self._waiting: list[Waiting] = []

    def asked(self, url: bytes, headers: Headers, address: str, keep_alive: bool) -> Asked | None:
        """A POST that begins so, where it is answered here; None leaves it to the application."""
        target = _target_of(url) if len(url) <= _LONGEST_URL else None
        if target is None or b"content-length" not in headers:
            return None
        try:
            request_id, size = given_id(headers), announced(headers)
        except Refused:
            return None
        if size >= BULK_BODY or not self._may_ask(headers, address):
            return None
        return Asked(completed(target, headers), request_id, keep_alive)

    def answer(self, asked: Asked, write: Write) -> None:
        """Have the reply to a request whose body is whole written, soon: with those that come meanwhile."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._answer_soon, 0)
        self._waiting.append((asked, write))

    def _answer_soon(self, before: int) -> None:
        """Answer when a turn of the loop read no more of them: answered together, all are quicker."""
        count = len(self._waiting)
        if before < count < _MOST:
            asyncio.get_running_loop().call_soon(self._answer_soon, count)
        else:
            self._answer_all()

    def _answer_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        waiting = [(asked, write) for asked, write in waiting if not asked.disconnected]
        for together in _batches(waiting):
            replies = self._replies([asked for asked, _ in together])
            for (_, write), reply in zip(together, replies, strict=True):
                write(reply)

    def _replies(self, asked: Sequence[Asked]) -> list[Whole]:
        if len(asked) > 1:
            # Whoever is at fault, and however, is found when each is answered alone.
            with suppress(BaseException):
                several = [(bytes(each.body), each.request_id) for each in asked]
                return [Whole.answering(each) for each in self._answering.replies(asked[0].target, several)]
        return [self._reply(each) for each in asked]

    def _reply(self, asked: Asked) -> Whole:
        try:
            return Whole.answering(self._answering.reply(asked.target, bytes(asked.body), asked.request_id))
        except Refused as refused:
            return Whole.of(refusal(refused, asked.request_id or ""))
        except BaseException:  # as uvicorn does: a model's code that exits ends one request
            _log.exception("a request was not answered")
            self._answering.count_failure()
            return Whole.of(failure())

    def _may_ask(self, headers: Headers, address: str) -> bool:
        if self._keys is not None:
            caller: object = self._keys.caller(headers)
        else:  # whose address a proxy tells is found on the application's side
            caller = None if self._rate and b"x-forwarded-for" in headers else address
        return caller is not None and (self._rate is None or not self._rate.count(caller))


def _batches(waiting: list[Waiting]) -> Iterator[list[Waiting]]:
    """Those that ask for the same, in their order; so few that a batch takes no longer than one may."""
    for _, alike in groupby(waiting, key=lambda each: each[0].target):
        batch: list[Waiting] = []
        size = 0
        for each in alike:
            size += len(each[0].body)
            if batch and (len(batch) == _MOST or size >= BULK_BODY):
                yield batch
                batch, size = [], len(each[0].body)
            batch.append(each)
        yield batch


@lru_cache(1_000)
def _target_of(url: bytes) -> Target | None:
    try:
        parsed = httptools.parse_url(url)
        return target_of(unquote((parsed.path or b"").decode("ascii")), parsed.query or b"")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        return None
