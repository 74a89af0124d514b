"""What happened, told from the ledger: date, event, version, metric, why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from rich.table import Table

from include.lifecycle.release.costs import USED
from include.lifecycle.release.state import Ending
from include.lifecycle.store.ledger import Ledger
from include.lifecycle.store.objects import Store

_STYLES = {"promoted": "green", "aborted": "red", "rejected": "red"}


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
    gates: dict[str, dict[str, float]] = {}
    window: dict[str, Any] = {}
    events = []
    for entry in Ledger(store, model).entries():
        if entry.event == USED:
            continue
        if entry.event == "window":
            window = entry.data
            continue
        if entry.event == "proposed":
            gates[entry.data["version"]] = entry.data["metrics"]
        version = str((window if entry.event == "retrain" else entry.data).get("version", ""))
        metrics = window["metrics"] if entry.event == "retrain" else gates.get(version, {})
        event = f"canary {entry.data['share']:.0%}" if entry.event == "canary" else entry.event
        events.append(Event(f"{entry.as_of:%Y-%m-%d}", event, version, _brier(metrics), entry.why))
    return events


def _brier(metrics: dict[str, float]) -> str:
    return f"Brier {metrics['brier']:.4f}" if "brier" in metrics else ""


def as_table(events: list[Event]) -> Table:
    """The story as a table for the terminal, with a line where a version's way ends."""
    table = Table("date", "event", "version", "metric", "why", title="What happened")
    for event in events:
        ended = event.event in get_args(Ending)
        style = _STYLES.get(event.event)
        table.add_row(
            event.day, event.event, event.version, event.metric, event.why, style=style, end_section=ended
        )
    return table
