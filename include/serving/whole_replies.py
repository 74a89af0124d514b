"""A reply leaves in one write, head and body: each write wakes the caller up, who can do nothing with a
head, and who takes the processor meanwhile where there are few."""

from __future__ import annotations

import asyncio
from typing import Any


class WholeReplies:
    """A transport that joins what is written until the loop comes round; else the one it stands for."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send soon."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)

    def write_now(self, data: bytes) -> None:
        """Send at once, after what is held."""
        self._held.append(data)
        self.flush()

    def is_closing(self) -> bool:
        """Whether the connection ends; asked for each request, where a look-up in vain would be slow."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Send what is held, and close."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what is held."""
        held, self._held = self._held, []
        if held and not self._transport.is_closing():
            self._transport.writelines(held)

    def get_write_buffer_size(self) -> int:
        """How many bytes the caller has not taken yet."""
        return sum(map(len, self._held)) + self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
