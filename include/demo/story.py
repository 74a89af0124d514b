"""What happened, told from the ledger: date, event, version, metric, why."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from include.lifecycle.store.ledger import Entry, Ledger
from include.lifecycle.store.objects import Store


@dataclass(frozen=True)
class Event:
    """One line of the story."""

    day: str
    event: str
    version: str
    metric: str
    why: str


def tell(model: str, store: Store) -> list[Event]:
    """The decisions in a model's ledger; windows only where they led to one."""
    entries = Ledger(store, model).entries()
    before = [None, *entries[:-1]]
    return [
        _event(entry, previous)
        for previous, entry in zip(before, entries, strict=True)
        if entry.event != "window"
    ]


def _event(entry: Entry, previous: Entry | None) -> Event:
    window = previous.data if previous and entry.event == "retrain" else {}
    metrics = window.get("metrics", {})
    return Event(
        day=f"{entry.as_of:%Y-%m-%d}",
        event=entry.event,
        version=str(entry.data.get("version") or window.get("version") or ""),
        metric=f"Brier {metrics['brier']:.4f}" if "brier" in metrics else "",
        why=entry.why,
    )


def as_table(events: list[Event]) -> Table:
    """The story as a table for the terminal."""
    table = Table("date", "event", "version", "metric", "why", title="What happened")
    for event in events:
        table.add_row(event.day, event.event, event.version, event.metric, event.why)
    return table
