"""What a piece of work spends its time on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Parts:
    """Seconds by part of a run, in the order in which the parts first began."""

    seconds: dict[str, float] = field(default_factory=dict)
    trees: int = 0
    """Trees of the version: equal work has equal numbers."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of a block to a part; a name that is indented is inside the part before."""
        self.seconds.setdefault(name, 0.0)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time added to a part."""

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return wrapper

    @property
    def total(self) -> float:
        """Seconds of all parts that are not inside another."""
        return sum(seconds for name, seconds in self.seconds.items() if not name.startswith(" "))
