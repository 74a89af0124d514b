"""What did a model's steps use, and what did that cost? Totals of the ledger's `used` entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from include.lifecycle.spec.profile import Prices
from include.lifecycle.spec.value import Value
from include.lifecycle.store.ledger import Entry
from include.lifecycle.store.usage import Usage

USED = "used"
"""The event of an entry that says what one attempt at a step used."""
_HOUR = 3600


def cost_of(usage: Usage, prices: Prices) -> float:
    """What some usage costs, in the currency of the prices."""
    cost = (
        usage.cpu_seconds * prices.cpu_hour
        + usage.memory_gib_seconds * prices.memory_gib_hour
        + usage.gpu_seconds * prices.gpu_hour
    )
    return round(cost / _HOUR, 6)


class Totals(Value):
    """What some attempts used together, those that failed included."""

    usage: Usage = Usage()
    costs: dict[str, float] = {}
    """By currency, of the attempts that had a price."""
    attempts: frozenset[str] = frozenset()
    unpriced: int = 0
    """How many of them were made while the profile had no prices."""

    def plus(self, data: Mapping[str, Any]) -> Totals:
        """With the attempt that an entry's data tell of; raises KeyError, TypeError or ValidationError
        for other data."""
        costs, currency = dict(self.costs), data.get("currency")
        if currency is not None:
            costs[currency] = round(costs.get(currency, 0) + data["cost"], 6)
        return Totals(
            usage=self.usage + Usage.model_validate(data["usage"]),
            costs=costs,
            attempts=self.attempts | {data["attempt"]},
            unpriced=self.unpriced + (currency is None),
        )

    @property
    def cost(self) -> str:
        """The money, such as `12.40 EUR`, and how much is left out; empty where nothing had a price."""
        priced = " + ".join(f"{cost:,.2f} {currency}" for currency, cost in sorted(self.costs.items()))
        return f"{priced} and {self.unpriced} without price" if priced and self.unpriced else priced


def totals_of_run(run_key: str, entries: Iterable[Entry]) -> Totals:
    """What all attempts at one call used."""
    totals = Totals()
    for entry in entries:
        if entry.event == USED and entry.data["run_key"] == run_key:
            totals = totals.plus(entry.data)
    return totals


def run_metrics(totals: Totals) -> dict[str, float]:
    """The totals of a run as MLflow's metrics; `cost` only where everything has a price in one currency."""
    metrics = totals.usage.model_dump(include={"cpu_seconds", "memory_gib_seconds", "gpu_seconds"})
    if len(totals.costs) == 1 and not totals.unpriced:
        metrics["cost"] = sum(totals.costs.values())
    return metrics


def month_tags(months: Mapping[str, Totals]) -> dict[str, str]:
    """The totals per month as tags of MLflow's registered model."""
    tags = {}
    for month, totals in months.items():
        tags[f"cpu_hours.{month}"] = f"{totals.usage.cpu_seconds / _HOUR:.2f}"
        tags[f"memory_gib_hours.{month}"] = f"{totals.usage.memory_gib_seconds / _HOUR:.2f}"
        tags[f"gpu_hours.{month}"] = f"{totals.usage.gpu_seconds / _HOUR:.2f}"
        if totals.cost:
            tags[f"cost.{month}"] = totals.cost
    return tags


def table_of_months(months: Mapping[str, Totals]) -> str:
    """The totals per month as a table for people, the oldest month first."""
    lines = [f"{'month':7}  {'attempts':>8}  {'CPU-s':>13}  {'GiB-s':>13}  {'GPU-s':>13}  cost"]
    for month, totals in sorted(months.items()):
        used = totals.usage
        amounts = (used.cpu_seconds, used.memory_gib_seconds, used.gpu_seconds)
        columns = "  ".join(f"{amount:13,.1f}" for amount in amounts)
        lines.append(f"{month}  {len(totals.attempts):8,}  {columns}  {totals.cost or 'no prices'}")
    return "\n".join(lines)
