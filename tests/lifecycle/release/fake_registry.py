"""A registry in memory, with the methods that reconcile needs."""

from __future__ import annotations

from collections.abc import Mapping


class FakeRegistry:
    """Remembers aliases, tags and anchor, and counts what is written."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.anchored: tuple[int, str] | None = None
        self.tags: dict[str, str] = {}
        self.writes = 0

    def set_aliases(self, model: str, aliases: Mapping[str, str | None]) -> None:
        """Point each alias at its version, or nowhere."""
        wanted = {alias: version for alias, version in aliases.items() if version is not None}
        self.writes += wanted != self.aliases
        self.aliases = wanted

    def anchor(self, model: str) -> tuple[int, str] | None:
        """The entry that was anchored last."""
        return self.anchored

    def set_tags(self, model: str, tags: Mapping[str, str]) -> None:
        """Remember tags beside those that there are."""
        self.writes += not tags.items() <= self.tags.items()
        self.tags |= tags

    def set_anchor(self, model: str, seq: int, digest: str) -> None:
        """Remember an entry."""
        self.writes += self.anchored != (seq, digest)
        self.anchored = (seq, digest)
