"""The users of the example: ask the server about each flight before it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from itertools import cycle
from threading import Event

import httpx
import numpy as np
import pandas as pd

from include.demo import feed

WEATHER = [name for name in feed.WEATHER_COLUMNS if name not in ("origin", "time_hour")]
KNOWN_BEFORE = [name for name in feed.FLIGHT_COLUMNS if name not in ("dep_delay", "arr_delay")]
BATCH = 100
PAUSE = 0.05
"""Seconds between two requests of one row."""


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
            _ask(client, model, rows.iloc[start : start + BATCH], f"{day}-{start}")
        client.post("/admin/flush").raise_for_status()
    return len(rows)


@contextmanager
def one_by_one(server: str, model: str, day: date) -> Iterator[None]:
    """Meanwhile users ask about a day's flights, one request each, over and over, in no order.

    Such a request has the id that the flight's row has in `send`: the monitor takes one of them, however
    many there are.
    """
    enough = Event()
    with ThreadPoolExecutor(1) as users:
        asking = users.submit(_ask_until, enough, server, model, day)
        try:
            yield
        finally:
            enough.set()
            asking.result()


def _ask_until(enough: Event, server: str, model: str, day: date) -> None:
    rows = requests_of(day)
    order = cycle(np.random.default_rng(0).permutation(len(rows)))
    with httpx.Client(base_url=server, timeout=30) as client:
        while not enough.wait(PAUSE):
            number = int(next(order))
            _ask(client, model, rows.iloc[number : number + 1], _id_in_batch(day, number, len(rows)))


def _id_in_batch(day: date, number: int, rows: int) -> str:
    """What the server calls a row of a batch; the only row of one goes by the request's own id."""
    start = number - number % BATCH
    return f"{day}-{start}" if start == rows - 1 else f"{day}-{start}/{number - start}"


def _ask(client: httpx.Client, model: str, rows: pd.DataFrame, request_id: str) -> None:
    body = rows.to_json(orient="split", index=False)
    reply = client.post(
        f"/models/{model}/invocations",
        content=f'{{"dataframe_split": {body}}}',
        headers={"Content-Type": "application/json", "X-Request-Id": request_id},
    )
    reply.raise_for_status()
