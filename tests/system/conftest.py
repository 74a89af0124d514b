"""One running system for all its tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.world import World, running_world


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    with running_world() as running:
        yield running
