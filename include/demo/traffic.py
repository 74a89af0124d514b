"""The users of the example: ask the server about each flight before it leaves."""

from __future__ import annotations

from datetime import date

import httpx
import pandas as pd

from include.demo import feed

WEATHER = [name for name in feed.WEATHER_COLUMNS if name not in ("origin", "time_hour")]
KNOWN_BEFORE = [name for name in feed.FLIGHT_COLUMNS if name not in ("dep_delay", "arr_delay")]
BATCH = 100


def requests_of(day: date) -> pd.DataFrame:
    """What is known of a day's flights before they leave, with the weather one hour earlier."""
    flights = feed.flights()[day.isoformat()][KNOWN_BEFORE].copy()
    flights["at"] = pd.to_datetime(flights["time_hour"]) - pd.Timedelta(hours=1)
    days = [(day - pd.Timedelta(days=1)).isoformat()[:10], day.isoformat()]
    weather = pd.concat([feed.weather()[name] for name in days if name in feed.weather()])
    weather = weather.assign(at=pd.to_datetime(weather["time_hour"])).drop(columns="time_hour")
    joined = pd.merge_asof(
        flights.sort_values("at", kind="stable"),
        weather.sort_values("at", kind="stable"),
        on="at",
        by="origin",
        tolerance=pd.Timedelta(hours=3),
    )
    return joined[[*KNOWN_BEFORE, *WEATHER]]


def send(server: str, model: str, day: date) -> int:
    """Ask the server about every flight of a day; returns the number of predictions."""
    rows = requests_of(day)
    with httpx.Client(base_url=server, timeout=30) as client:
        for start in range(0, len(rows), BATCH):
            body = rows.iloc[start : start + BATCH].to_json(orient="split", index=False)
            reply = client.post(
                f"/models/{model}/invocations",
                content=f'{{"dataframe_split": {body}}}',
                headers={"Content-Type": "application/json", "X-Request-Id": f"{day}-{start}"},
            )
            reply.raise_for_status()
        client.post("/admin/flush").raise_for_status()
    return len(rows)
