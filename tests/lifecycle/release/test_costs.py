import pytest

from include.lifecycle.release.costs import (
    Totals,
    cost_of,
    month_tags,
    run_metrics,
    table_of_months,
)
from include.lifecycle.spec.profile import Prices
from include.lifecycle.store.usage import Usage

PRICES = Prices(currency="EUR", cpu_hour=0.04, memory_gib_hour=0.005, gpu_hour=2.5)
HOUR_OF_ALL = Usage(seconds=3600, cpu_seconds=4 * 3600, memory_gib_seconds=16 * 3600, gpu_seconds=3600)


def _totals(*costs: tuple[float, str] | None) -> Totals:
    totals = Totals()
    for number, cost in enumerate(costs):
        data = {"attempt": str(number), "usage": HOUR_OF_ALL.model_dump()}
        totals = totals.plus(data | ({"cost": cost[0], "currency": cost[1]} if cost else {}))
    return totals


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (HOUR_OF_ALL, 4 * 0.04 + 16 * 0.005 + 2.5),
        (Usage(seconds=900, cpu_seconds=900), 0.01),
        (Usage(memory_gib_seconds=7200), 0.01),
        (Usage(gpu_seconds=36), 0.025),
        (Usage(seconds=3600), 0),
    ],
)
def test_cost_is_price_times_hours_of_cpu_memory_and_gpu(usage: Usage, cost: float) -> None:
    assert cost_of(usage, PRICES) == pytest.approx(cost)


def test_totals_add_what_attempts_used_and_keep_currencies_apart() -> None:
    totals = _totals((2, "EUR"), (10.4, "EUR"), (3, "USD"))
    assert totals.usage.cpu_seconds == 3 * 4 * 3600
    assert totals.usage.gpu_seconds == 3 * 3600
    assert totals.costs == {"EUR": 12.4, "USD": 3}
    assert totals.cost == "12.40 EUR + 3.00 USD"


def test_what_had_no_price_is_said_and_counted_as_no_money() -> None:
    assert _totals(None, None).cost == ""
    assert _totals((1, "EUR"), None).cost == "1.00 EUR and 1 without price"


def test_tags_of_the_months_say_hours_and_money() -> None:
    assert month_tags({"2026-10": _totals(None), "2026-11": _totals((12.4, "EUR"))}) == {
        "cpu_hours.2026-10": "4.00",
        "memory_gib_hours.2026-10": "16.00",
        "gpu_hours.2026-10": "1.00",
        "cpu_hours.2026-11": "4.00",
        "memory_gib_hours.2026-11": "16.00",
        "gpu_hours.2026-11": "1.00",
        "cost.2026-11": "12.40 EUR",
    }


@pytest.mark.parametrize(
    ("totals", "cost"),
    [
        (_totals((1, "EUR"), (2, "EUR")), 3),
        (_totals(None), None),
        (_totals((1, "EUR"), None), None),
        (_totals((1, "EUR"), (1, "USD")), None),
    ],
)
def test_a_run_has_a_cost_only_where_all_of_it_has_a_price_in_one_currency(
    totals: Totals, cost: float | None
) -> None:
    metrics = run_metrics(totals)
    assert metrics.pop("cost", None) == cost
    assert set(metrics) == {"cpu_seconds", "memory_gib_seconds", "gpu_seconds"}


def test_the_table_lists_the_months_in_order() -> None:
    table = table_of_months({"2026-11": _totals((12.4, "EUR")), "2026-10": _totals(None)})
    header, october, november = table.splitlines()
    assert header.split() == ["month", "attempts", "CPU-s", "GiB-s", "GPU-s", "cost"]
    assert october.split() == ["2026-10", "1", "14,400.0", "57,600.0", "3,600.0", "no", "prices"]
    assert november.split() == ["2026-11", "1", "14,400.0", "57,600.0", "3,600.0", "12.40", "EUR"]
