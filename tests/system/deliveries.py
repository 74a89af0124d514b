"""What arrives in a campaign of faults: rows whose fate is known beforehand, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HEADER = "trip_id,at,city,distance,stops,express,delay,rider"
ERASED = "ada@example.org"
"""Who was erased before anything arrived: their rows go nowhere."""
ROWS = 400
Row = tuple[str, str, float]
"""Key, event time and distance of a published row."""


@dataclass(frozen=True)
class Delivery:
    """One version of a partition's file, and what must become of its rows."""

    lines: tuple[str, ...]
    published: frozenset[Row]
    quarantined: int
    repeated: int
    suppressed: int

    @property
    def counts(self) -> dict[str, int]:
        """Each row in, and where it went."""
        return {
            "rows_in": len(self.lines),
            "published": len(self.published),
            "quarantined": self.quarantined,
            "repeated": self.repeated,
            "suppressed": self.suppressed,
        }


def delivery(seed: int, partition: str, revision: int) -> Delivery:
    """The same delivery for the same seed, partition and revision, in any process."""
    draw = random.Random(f"{seed} {partition} {revision}")
    newest: dict[str, Row] = {}
    lines, bad, repeated, suppressed = [], 0, 0, 0
    for key, at, kind in _drawn(draw, partition):
        distance = draw.randint(10, 9990) / 10
        city = "XXX" if kind == "bad" else "BER"
        lines.append(f"{key},{at},{city},{distance},1,true,3,{(rider := _rider(draw))}")
        if rider == ERASED:
            suppressed += 1
            continue
        if kind == "bad":
            bad += 1
            continue
        repeated += key in newest
        newest[key] = max(newest.get(key, (key, "", 0.0)), (key, at, distance), key=lambda row: row[1])
    draw.shuffle(lines)
    return Delivery(tuple(lines), frozenset(newest.values()), bad, repeated, suppressed)


def _rider(draw: random.Random) -> str:
    return ERASED if draw.random() < 0.05 else f"rider{draw.randint(1, 20)}@example.org"


def _drawn(draw: random.Random, partition: str) -> Iterator[tuple[str, str, str]]:
    for number in range(ROWS + draw.randint(0, ROWS)):
        key = f"{partition}-{number:04}"
        yield key, f"{partition}T{draw.randint(0, 10):02}:00:00Z", draw.choice(["good"] * 8 + ["bad"])
        if draw.random() < 0.1:
            yield key, f"{partition}T{draw.randint(11, 23):02}:00:00Z", "good"


def deliver(landing: Path, partition: str, delivered: Delivery) -> None:
    """Put the partition's file in place at once, as a careful source does."""
    file = landing / "trips" / f"{partition}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text("\n".join([HEADER, *delivered.lines]) + "\n")
    part.rename(file)
