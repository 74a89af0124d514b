from pathlib import Path

from rich.console import Console

from include.demo.story import as_table, tell
from include.lifecycle.store.ledger import Entry, Ledger
from include.lifecycle.store.objects import Store
from tests.lifecycle.tiny import midnight


def _ledger(store: Store) -> None:
    ledger = Ledger(store, "late")
    entries: list[Entry] = []
    items = [
        ("training", 1, {"run_key": "a", "fingerprint": "f", "drift": False}),
        ("proposed", 1, {"version": "1", "run_key": "a", "evaluation": "e", "metrics": {"brier": 0.15}}),
        ("promoted", 1, {"version": "1"}),
        ("window", 2, {"bad": False, "version": "1", "metrics": {"brier": 0.16}}),
        ("window", 3, {"bad": True, "version": "1", "metrics": {"brier": 0.21}}),
        ("retrain", 3, {}),
        ("rejected", 4, {"run_key": "b"}),
        ("canary", 5, {"version": "2", "share": 0.2}),
        ("aborted", 5, {"version": "2"}),
    ]
    for event, day, data in items:
        entries.append(
            ledger.append(
                event, after=entries, as_of=midnight(day), why=f"why {event}", actor="a", run_id="r", **data
            )
        )


def test_the_story_tells_every_decision_with_date_version_metric_and_reason(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    _ledger(store)
    story = tell("late", store)
    assert [(event.day, event.event) for event in story] == [
        ("2024-01-01", "training"),
        ("2024-01-01", "proposed"),
        ("2024-01-01", "promoted"),
        ("2024-01-03", "retrain"),
        ("2024-01-04", "rejected"),
        ("2024-01-05", "canary 20%"),
        ("2024-01-05", "aborted"),
    ]
    assert all(event.why == f"why {event.event.removesuffix(' 20%')}" for event in story)
    assert [event.version for event in story][1:4] == ["1", "1", "1"]
    assert "0.2100" in story[3].metric


def test_the_story_is_printed_as_a_table(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    _ledger(store)
    console = Console(width=160, record=True, file=(tmp_path / "out").open("w"))
    console.print(as_table(tell("late", store)))
    assert "why promoted" in console.export_text()
